"""Every golden number, stage by stage, so that the first failing test names the stage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from PIL import Image, ImageOps

from detection.d3.detector import Detector
from detection.d3.images import decode_image
from detection.d3.network import AttentionHead, D3Network, shuffle_patches
from detection.d3.preprocessing import Preprocessing
from detection.d3.runtime import cpu_has_bf16
from tests.support.golden_numbers import CPU, GOLDEN, GoldenSet, tiny_set, vit_l_14_set
from tests.support.published_layouts import CLIP, TINY

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

NEEDS_BF16 = pytest.mark.skipif(
    not cpu_has_bf16(), reason="This CPU has no bf16 instructions; emulated, they take minutes."
)
DECODED_OTHERWISE = {"alpha.png", "grey16.png"}  # on purpose: white behind alpha, 16 bits scaled


@pytest.fixture(scope="module", params=["tiny", pytest.param("vitl14", marks=pytest.mark.slow)])
def golden(request, tmp_path_factory) -> Iterator[GoldenSet]:
    if request.param == "tiny":
        golden_set = tiny_set()
    else:
        golden_set = vit_l_14_set(tmp_path_factory.mktemp("vitl14"))
    yield golden_set
    print(f"\nLargest differences from the golden numbers, {request.param}:")  # shown by -s
    for quantity, difference in golden_set.worst.items():
        print(f"  {quantity:<24} {difference:.1e}")


def test_the_files_are_the_recorded_ones(golden: GoldenSet):
    for image in golden.numbers["images"]:
        assert _sha256(golden.path(image).read_bytes()) == image["sha256"]
    for name, facts in golden.numbers["files"].items():
        path = GOLDEN / golden.name / name
        if path.exists():  # the others are derived from these
            assert _sha256(path.read_bytes()) == facts["sha256"]


def test_the_reference_decoding_of_this_pillow_is_the_recorded_one(golden: GoldenSet):
    for image, variant, numbers in golden.variants:
        rgb = _reference_rgb(golden.path(image), variant)
        assert list(rgb.size) == numbers["rgb_size_wh"]
        assert _sha256(rgb.tobytes()) == numbers["rgb_sha256"]


def test_our_decoding_agrees_except_where_it_differs_on_purpose(golden: GoldenSet):
    for image in golden.numbers["images"]:
        path, variants = golden.path(image), image["variants"]
        pixels = _sha256(decode_image(path).pixels.tobytes())
        expected = variants.get("exif_transposed", variants["plain"])["rgb_sha256"]
        assert (pixels == expected) == (path.name not in DECODED_OTHERWISE), path.name


def test_pictures_are_resized_to_the_recorded_bytes(golden: GoldenSet):
    """Both in the order of this Pillow, and in the order that is the same in all versions."""
    for image, variant, _ in golden.variants:
        if variant == "plain_pillow12":
            continue
        rgb = _reference_rgb(golden.path(image), variant)
        horizontal = "plain_pillow12" if "plain_pillow12" in image["variants"] else variant
        ours = {
            order: _levels(Preprocessing(resize_order=order)(rgb))
            for order in ("pillow", "horizontal-first")
        }
        recorded = {name: golden.array(image, name, "resized_u8") for name in (variant, horizontal)}
        assert any((ours["pillow"] == levels).all() for levels in recorded.values())
        assert (ours["horizontal-first"] == recorded[horizontal]).all()


def test_stored_pixels_are_the_recorded_ones(golden: GoldenSet):
    for image, variant, numbers in golden.variants:
        levels = golden.array(image, variant, "resized_u8")
        assert _sha256(levels.tobytes()) == numbers["resized_u8_sha256"]


def test_normalised_values_agree(golden: GoldenSet):
    for view, (_, _, numbers) in zip(golden.views(), golden.variants, strict=True):
        expected, values = numbers["preprocessed"], view.double()
        assert list(view.shape) == expected["shape"]
        statistics = {
            "mean": values.mean(),
            "std": values.std(correction=0),
            "min": values.min(),
            "max": values.max(),
            "channel_mean": values.mean(dim=(1, 2)),
            "samples": _samples(golden, view),
        }
        for name, value in statistics.items():
            golden.agrees(f"preprocessed {name}", value, expected[name], 1e-6)
        assert _sha256(view.numpy().tobytes()) == expected["sha256"]


def test_shuffled_values_agree(golden: GoldenSet):
    patch = golden.checkpoint.architecture.shuffle_patch
    shuffled = shuffle_patches(golden.views(), torch.tensor(golden.A), patch)
    for view, (_, _, numbers) in zip(shuffled, golden.variants, strict=True):
        expected = numbers["shuffled"]
        golden.agrees("shuffled samples", _samples(golden, view), expected["samples"], 1e-6)
        assert _sha256(view.contiguous().numpy().tobytes()) == expected["sha256"]


def test_features_agree(golden: GoldenSet):
    shuffled, original = golden.judged.shuffled, golden.judged.original
    for i, (image, variant, numbers) in enumerate(golden.variants):
        found = {"feature_shuffled": shuffled[0, i], "feature_original": original[i]}
        for name, feature in found.items():
            expected = numbers[name]
            golden.agrees("features", feature, golden.array(image, variant, name))
            golden.agrees("features", feature[:16], expected["first16"])
            golden.agrees("feature l2", feature.double().norm(), expected["l2"])
            golden.agrees("feature mean", feature.double().mean(), expected["mean"])
        if golden.name == "vitl14":
            stored = golden.array(image, variant, "feature_shuffled_B")
            golden.agrees("features", shuffled[1, i], stored)


@torch.inference_mode()
def test_features_of_the_network_for_explanations_agree(golden: GoldenSet):
    """Training uses it too; verdicts use a faster one. The large tower sees one image only."""
    some = list(golden.variants)[: 1 if golden.name == "vitl14" else None]
    views = golden.views()[: len(some)]
    shuffled, original = golden.network.features(views, torch.tensor([golden.A]))
    for i, (image, variant, _) in enumerate(some):
        for name, feature in (("shuffled", shuffled[0, i]), ("original", original[i])):
            stored = golden.array(image, variant, f"feature_{name}")
            golden.agrees("features for explanations", feature, stored)


@torch.inference_mode()
def test_both_heads_agree_on_our_features(golden: GoldenSet):
    features = golden.judged.shuffled, golden.judged.original
    ones = golden.network.classify(*features)  # (2, N, 1)
    twos = _two_logit_network(golden).classify(*features)  # (2, N, 2)
    for permutation, numbers_of in enumerate((_plain_numbers, _numbers_under_b)):
        for i, (_, _, numbers) in enumerate(golden.variants):
            expected = numbers_of(numbers)
            one, two = ones[permutation, i], twos[permutation, i]
            golden.agrees("logits of features", one[0], expected["one_logit"]["logit"])
            golden.agrees("two logits of features", two, expected["two_logit"]["logits"])
            golden.agrees("softmax", two.double().softmax(0), expected["two_logit"]["softmax"])


@torch.inference_mode()
def test_both_heads_agree_on_stored_features(golden: GoldenSet):
    one, two = golden.network.attention_head, _two_logit_network(golden).attention_head
    for image, variant, numbers in golden.variants:
        names = ("feature_shuffled", "feature_original")
        features = np.stack([golden.array(image, variant, name) for name in names])
        pair = torch.from_numpy(features)[None]  # (1, 2, C)
        golden.agrees("head, one logit", one(pair)[0, 0], numbers["one_logit"]["logit"])
        golden.agrees("head, two logits", two(pair)[0], numbers["two_logit"]["logits"])


def test_logits_agree_from_the_pixels_on(golden: GoldenSet):
    logits = golden.judged.logits
    golden.agrees("logits", logits, golden.logits)
    golden.agrees("logits averaged", golden.judged.means, golden.logits.mean(axis=0))
    for i, (_, _, numbers) in enumerate(golden.variants):
        for logit, expected in zip(
            logits[:, i], (numbers, numbers["with_permutation_B"]), strict=True
        ):
            golden.agrees("probabilities", _sigmoid(logit), expected["one_logit"]["prob"])
            if "logit_float64" in expected["one_logit"]:
                exact = expected["one_logit"]["logit_float64"]
                golden.agrees("logits from float64", logit, exact)


@torch.inference_mode()
def test_one_batch_under_one_permutation_agrees(golden: GoldenSet):
    batch = golden.numbers["batch"]
    order = [(image["file"], variant) for image, variant, _ in golden.variants]
    rows = [order.index((name, batch["variant"])) for name in batch["files"]]
    features = golden.judged.shuffled[:, rows], golden.judged.original[rows]
    ones = golden.network.classify(*features)[..., 0]
    twos = _two_logit_network(golden).classify(*features)
    for name, one, two in zip("AB", ones, twos, strict=True):
        expected = batch[f"permutation_{name}"]
        golden.agrees("batch logits", one, expected["one_logit"]["logits"])
        golden.agrees("batch probabilities", one.double().sigmoid(), expected["one_logit"]["probs"])
        golden.agrees("batch, two logits", two, expected["two_logit"]["logits"])
        probabilities = two[:, 0].double().sigmoid()
        golden.agrees(
            "batch probabilities", probabilities, expected["two_logit"]["reference_probs"]
        )


def test_a_two_logit_head_counts_its_first_logit(tiny: GoldenSet):
    detector = Detector.from_checkpoint(
        TINY / "two_logit_head.pth", CLIP, device="cpu", precision="fp32"
    )
    pictures = [tiny.pixels(image, variant) for image, variant, _ in tiny.variants]
    for permutation, numbers_of in ((tiny.A, _plain_numbers), (tiny.B, _numbers_under_b)):
        logits = detector.logits(pictures, permutations=permutation)
        expected = [numbers_of(numbers)["two_logit"] for _, _, numbers in tiny.variants]
        tiny.agrees("logits, two-logit head", logits, [each["logits"][0] for each in expected])
        probabilities = [each["reference_prob"] for each in expected]
        tiny.agrees("probabilities", _sigmoid(logits), probabilities)


def test_files_of_ordinary_pictures_give_the_recorded_logits(tiny: GoldenSet):
    for image in tiny.numbers["images"]:
        variants = image["variants"]
        if tiny.path(image).name in DECODED_OTHERWISE:
            continue
        [logit] = tiny.detector.logits([tiny.path(image)], permutations=tiny.A)
        upright = [numbers for name, numbers in variants.items() if name != "plain"]
        accepted = upright if "exif_transposed" in variants else variants.values()
        nearest = min(
            (numbers["one_logit"]["logit"] for numbers in accepted),
            key=lambda expected: abs(expected - logit),
        )
        tiny.agrees("logits of files", logit, nearest)


def test_two_consecutive_calls_agree(tiny: GoldenSet):
    calls = tiny.numbers["two_consecutive_calls"]
    second = tiny.numbers["permutations"]["A_second_call"]["perm"]
    for permutation, expected in ((tiny.A, "first_logit"), (second, "second_logit")):
        logits = tiny.detector.logits([TINY / calls["file"]], permutations=permutation)
        tiny.agrees("consecutive calls", logits[0], calls[expected])


def test_fifty_random_permutations_spread_as_recorded(tiny: GoldenSet):
    permutations = [
        torch.randperm(256, generator=torch.Generator().manual_seed(seed)).tolist()
        for seed in range(1000, 1050)
    ]
    photo = next(i for i in tiny.numbers["images"] if i["file"] == "images/photo.jpg")
    study = next(s for s in tiny.numbers["random_permutation_study"] if s["file"] == photo["file"])
    view = tiny.checkpoint.preprocessing(tiny.pixels(photo, "plain"))
    with torch.inference_mode():
        logits = tiny.network(view, torch.tensor(permutations)).flatten().double()
    probabilities = logits.sigmoid()
    for name, value in {
        "logit_mean": logits.mean(),
        "logit_std": logits.std(),
        "prob_mean": probabilities.mean(),
        "prob_std": probabilities.std(),
        "prob_min": probabilities.min(),
        "prob_max": probabilities.max(),
    }.items():
        tiny.agrees("spread of permutations", value, study[name])
    [mean] = tiny.detector.logits([tiny.pixels(photo, "plain")], permutations=permutations)
    tiny.agrees("mean of permutations", mean, study["logit_mean"])


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.1), ("bf16", 0.4)])
def test_half_precision_stays_near(precision: str, tolerance: float, tiny: GoldenSet):
    detector = Detector(tiny.checkpoint, device=CPU, precision=precision)
    image = tiny.numbers["images"][0]
    [logit] = detector.logits([tiny.pixels(image, "plain")], permutations=tiny.A)
    expected = image["variants"]["plain"]["one_logit"]["logit"]
    tiny.agrees(precision, logit, expected, tolerance)
    assert logit != tiny.detector.logits([tiny.pixels(image, "plain")], permutations=tiny.A)[0]


@NEEDS_BF16
def test_logits_in_bf16_stay_near(golden: GoldenSet):
    """Weights and products are in bf16, sums in fp32. Narrow towers average fewer errors out."""
    tolerance = {"vitl14": 0.05, "tiny": 0.1}[golden.name]
    judged = golden.judged_by(Detector(golden.checkpoint, device=CPU, precision="bf16"))
    golden.agrees("logits in bf16", judged.logits, golden.logits, tolerance)


@pytest.fixture(scope="module")
def tiny() -> GoldenSet:
    return tiny_set()


def _two_logit_network(golden: GoldenSet) -> D3Network:
    """Return a network for ``classify`` alone: its tower has no weights."""
    width = golden.checkpoint.architecture.tower.width
    with torch.device("meta"):
        network = D3Network(golden.checkpoint.architecture)
    network.attention_head = AttentionHead(width, outputs=2)
    network.attention_head.load_state_dict(golden.two_logit_head)
    return network


def _plain_numbers(numbers: dict) -> dict:
    return numbers


def _numbers_under_b(numbers: dict) -> dict:
    return numbers["with_permutation_B"]


def _reference_rgb(path: Path, variant: str) -> Image.Image:
    image = Image.open(path)
    if variant == "exif_transposed":
        image = ImageOps.exif_transpose(image)
    return image.convert("RGB")


def _levels(views: torch.Tensor) -> np.ndarray:
    """Return the 8-bit levels of the normalised views of one image, (S, S, 3)."""
    plain = Preprocessing()
    levels = views[0].permute(1, 2, 0).double() * torch.tensor(plain.std) + torch.tensor(plain.mean)
    return (levels * 255).round().numpy().astype(np.uint8)


def _samples(golden: GoldenSet, view: torch.Tensor) -> torch.Tensor:
    channel, y, x = torch.tensor(golden.numbers["sample_index_cyx"]).T
    return view[channel, y, x]


def _sigmoid(logits: ArrayLike) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
