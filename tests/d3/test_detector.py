from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detection.d3 import Detector
from detection.d3.checkpoints import load, save
from detection.d3.errors import D3Error, UnsupportedImageError
from detection.d3.images import upright_rgb
from tests.support.checkpoints import a_checkpoint, overflowing_checkpoint, with_weights
from tests.support.factories import image_bytes, noise_image
from tests.support.published_layouts import CLIP, HEAD

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
SIZES = [(64, 64), (20, 30), (150, 70), (200, 200), (64, 65)]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "test.safetensors"
    save(a_checkpoint(), path)
    return path


@pytest.fixture(scope="module")
def detector(path) -> Detector:
    return Detector.from_checkpoint(path, device="cpu")


@pytest.fixture(scope="module")
def clip_detector() -> Detector:
    return Detector.from_checkpoint(HEAD, clip_weights=CLIP, device="cpu")


def images() -> list[Image.Image]:
    return [noise_image(size=size, seed=seed) for seed, size in enumerate(SIZES)]


def detector_with_logit(logit: float, **changes) -> Detector:
    """A detector that gives every image the same logit."""
    checkpoint = with_weights(
        a_checkpoint(**{"temperature": 1.0, "threshold": 0.5, **changes}),
        {
            "attention_head.fc.weight": torch.Tensor.zero_,
            "attention_head.fc.bias": lambda bias: bias.fill_(logit),
        },
    )
    return Detector(checkpoint, device=CPU, precision="fp32")


# The same images, the same scores


@pytest.mark.parametrize("name", ["detector", "clip_detector"])
def test_an_image_gets_the_same_bits_alone_and_beside_others(name, request):
    detector = request.getfixturevalue(name)
    together = detector.logits(images())
    alone = np.concatenate([detector.logits([image]) for image in images()])
    assert (together == alone).all()
    assert (detector.logits(images()[::-1]) == alone[::-1]).all()
    assert (detector.logits(images() * 2) == np.tile(alone, 2)).all()
    assert len(set(alone)) == len(SIZES)


def test_another_process_gives_the_same_bits(detector, path, tmp_path):
    for number, image in enumerate(images()):
        image.save(tmp_path / f"{number}.png")
    files = [str(tmp_path / f"{number}.png") for number in range(len(SIZES))]
    code = (
        "import sys, torch\n"
        "from detection.d3 import Detector\n"
        "torch.manual_seed(1)\n"
        "detector = Detector.from_checkpoint(sys.argv[1], device='cpu')\n"
        "sys.stdout.buffer.write(detector.logits(sys.argv[2:]).tobytes())"
    )
    command = [sys.executable, "-c", code, str(path), *files]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    assert output == detector.logits(files).tobytes()


def test_a_converted_checkpoint_gives_the_same_bits(clip_detector, tmp_path):
    path = tmp_path / "converted.safetensors"
    save(load(HEAD, clip_weights=CLIP), path)
    converted = Detector.from_checkpoint(path, device="cpu")
    assert (converted.logits(images()) == clip_detector.logits(images())).all()


def test_threads_that_share_a_detector_get_the_same_bits(detector):
    expected = detector.logits(images())
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: detector.logits(images()), range(12)))
    assert all((result == expected).all() for result in results)


def test_images_that_share_a_pass_as_on_a_gpu_get_nearly_the_same_logits(path):
    detector = Detector.from_checkpoint(path, device="cpu")
    alone = detector.logits(images() * 3)
    detector._views_per_pass = 16
    assert np.abs(detector.logits(images() * 3) - alone).max() < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees_with_the_cpu(clip_detector):
    for precision, tolerance in (("fp32", 1e-2), ("fp16", 0.02), ("bf16", 0.1)):
        gpu = Detector.from_checkpoint(HEAD, CLIP, device="cuda", precision=precision)
        difference = np.abs(gpu.logits(images()) - clip_detector.logits(images())).max()
        assert difference < tolerance


# Images in


def test_bytes_paths_and_pictures_can_be_mixed(detector, tmp_path):
    data = image_bytes(size=(90, 80), image_format="PNG")
    file = tmp_path / "picture.png"
    file.write_bytes(data)
    mixed = [data, file, str(file), Image.open(file), noise_image(size=(90, 80))]
    logits = detector.logits(mixed)
    assert logits.dtype == np.float32
    assert len(set(logits)) == 1


def test_no_images_give_no_logits(detector):
    assert detector.logits([]).shape == (0,)
    assert detector.logits([]).dtype == np.float32
    assert detector.detect([]) == []


def test_images_may_be_a_generator(detector):
    assert (detector.logits(iter(images())) == detector.logits(images())).all()


def test_other_modes_are_turned_into_rgb(detector):
    picture = noise_image().convert("RGBA")
    picture.putalpha(128)
    assert detector.logits([picture]) == detector.logits([upright_rgb(picture)])
    assert detector.logits([picture]) != detector.logits([picture.convert("RGB")])


def test_an_unreadable_image_is_a_typed_error(detector):
    with pytest.raises(UnsupportedImageError):
        detector.detect([noise_image(), b"not an image"])


def test_an_opened_file_is_turned_upright_like_its_path(detector, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    noise_image(size=(90, 70)).save(path, exif=exif, quality=95)
    with Image.open(path) as opened:
        assert detector.logits([opened]) == detector.logits([path])


@pytest.mark.parametrize("single", ["photo.jpg", b"data", Path("photo.jpg"), noise_image()])
def test_a_single_image_is_not_taken_for_a_list(detector, single):
    with pytest.raises(TypeError, match="must be in a list"):
        detector.logits(single)


def test_an_array_is_refused_as_an_image(detector):
    with pytest.raises(TypeError, match="must be a PIL image, bytes or a path"):
        detector.logits([np.zeros((8, 8, 3))])


# Permutations


def test_logits_are_means_over_permutations(clip_detector):
    generator = np.random.default_rng(0)
    permutations = [generator.permutation(256).tolist() for _ in range(3)]
    each = [clip_detector.logits(images(), permutations=one) for one in permutations]
    together = clip_detector.logits(images(), permutations=permutations)
    assert np.abs(together - np.mean(each, axis=0)).max() < 1e-5
    assert (clip_detector.logits(images(), permutations=np.array(permutations)) == together).all()
    assert (clip_detector.logits(images(), permutations=[permutations[0]]) == each[0]).all()


def test_the_default_permutations_are_those_of_the_checkpoint(detector, path):
    permutations = load(path).permutation_lists()
    assert (detector.logits(images()) == detector.logits(images(), permutations)).all()


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [[]],
        list(range(15)),
        list(range(1, 17)),
        [0] * 16,
        [list(range(16)), list(range(15))],
        [float(i) for i in range(16)],
        [[list(range(16))]],
        ["a"] * 16,
        3,
    ],
)
def test_lists_that_are_no_permutations_are_refused(detector, wrong):
    with pytest.raises(ValueError, match=r"must hold each number of 0\.\.15 once"):
        detector.logits(images(), permutations=wrong)


# Verdicts


def test_logits_are_means_over_crops(detector, path):
    wide = noise_image(size=(100, 64))
    halves = [wide.crop((0, 0, 64, 64)), wide.crop((36, 0, 100, 64))]
    assert detector.logits([wide])[0] == pytest.approx(detector.logits(halves).mean(), abs=1e-6)


def test_the_temperature_cools_the_score_but_not_the_logit():
    detector = detector_with_logit(3.0, temperature=2.0)
    [verdict] = detector.detect([noise_image()])
    assert detector.logits([noise_image()])[0] == 3.0
    assert verdict.fake_score == pytest.approx(1 / (1 + np.exp(-1.5)))
    assert verdict.label == "FAKE"
    assert verdict.confidence == verdict.fake_score


def test_a_score_at_the_threshold_is_real():
    [verdict] = detector_with_logit(0.0, uncertain=(0.5, 0.5)).detect([noise_image()])
    assert (verdict.label, verdict.fake_score, verdict.confidence) == ("REAL", 0.5, 0.5)


def test_the_confidence_is_the_score_of_the_label():
    [verdict] = detector_with_logit(-2.0).detect([noise_image()])
    assert verdict.label == "REAL"
    assert verdict.confidence == 1 - verdict.fake_score


@pytest.mark.parametrize(
    ("score", "threshold", "label", "uncertain"),
    [
        (0.1, None, "REAL", False),
        (0.35, None, "REAL", True),
        (0.65, None, "FAKE", True),
        (0.9, None, "FAKE", False),
        (0.8, 0.85, "REAL", True),  # against the evidence, so never certain
        (0.9, 0.85, "FAKE", False),
        (0.2, 0.1, "FAKE", True),
        (0.65, 0.6, "FAKE", True),  # the band stays where the evidence is weak
    ],
)
def test_scores_in_the_band_are_uncertain(score, threshold, label, uncertain):
    logit = float(np.log(score / (1 - score)))
    detector = detector_with_logit(logit, uncertain=(0.3, 0.7))
    [verdict] = detector.detect([noise_image()], threshold=threshold)
    assert (verdict.label, verdict.uncertain) == (label, uncertain)
    assert verdict.threshold == (0.5 if threshold is None else threshold)


@pytest.mark.parametrize(
    ("image", "doubt"),
    [
        (noise_image(size=(64, 31)), "too_small"),
        (noise_image(size=(32, 64)), ""),
        (Image.new("RGB", (64, 64), "navy"), "no_content"),
        (Image.new("RGBA", (64, 64), (200, 0, 0, 0)), "no_content"),
        (Image.new("RGB", (2, 2), "navy"), "too_small"),
    ],
)
def test_no_verdict_on_an_image_that_cannot_be_judged_is_certain(image, doubt):
    detector = detector_with_logit(20, min_side=32)

    [verdict] = detector.detect([image])

    assert (verdict.label, verdict.doubt) == ("FAKE", doubt)
    assert verdict.uncertain == bool(doubt)


def test_the_smallest_side_is_stored_in_the_checkpoint(tmp_path):
    path = tmp_path / "least.safetensors"
    save(a_checkpoint(min_side=112), path)

    assert Detector.from_checkpoint(path, device="cpu").info.min_side == 112
    assert load(path).version == a_checkpoint().version


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_of_the_scores_is_refused(detector, threshold):
    with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
        detector.detect(images(), threshold=threshold)


def test_extreme_logits_give_scores_of_zero_and_one():
    for logit, score in ((-1e4, 0.0), (1e4, 1.0)):
        [verdict] = detector_with_logit(logit).detect([noise_image()])
        assert verdict.fake_score == score
        assert verdict.confidence == 1.0


def test_an_overflow_is_an_error_and_no_verdict():
    detector = Detector(overflowing_checkpoint(), device=CPU, precision="fp32")
    with pytest.raises(D3Error, match="no finite number in fp32"):
        detector.detect([noise_image()])


# Description


def test_a_detector_describes_its_checkpoint(detector):
    checkpoint = a_checkpoint()
    info = detector.info
    assert (info.name, info.version) == ("d3-test", checkpoint.version)
    assert info.architecture == asdict(checkpoint.architecture)
    assert info.preprocessing == asdict(checkpoint.preprocessing)
    assert info.threshold == 0.625
    assert info.device == "cpu"
    assert info.precision in ("fp32", "bf16")
    assert 0 < info.parameters < sum(tensor.numel() for tensor in checkpoint.weights.values())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"device": "tpu"}, "must be auto, cpu, cuda or cuda:n"),
        ({"device": "mps"}, "must be auto, cpu, cuda or cuda:n"),
        ({"device": "cuda:99"}, "is not available: PyTorch finds no such GPU"),
        ({"device": "cpu", "precision": "int8"}, "must be auto, fp32, fp16 or bf16"),
    ],
)
def test_a_missing_device_or_an_unknown_precision_is_refused(path, options, problem):
    with pytest.raises(D3Error, match=problem):
        Detector.from_checkpoint(path, **options)
