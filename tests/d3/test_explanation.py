from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detection.d3 import D3Error, Detector, Evidence, UnsupportedImageError
from detection.d3.checkpoints import load, save
from detection.d3.explanation import MAX_CELLS, attribute, crop_places, evidence_map, map_shape
from detection.d3.network import ClipTowerConfig, D3Network, shuffle_patches
from detection.d3.preprocessing import PREPROCESSINGS, Preprocessing
from detection.workbench.faithfulness import blurred, mean_coloured, most_important, random_cells
from tests.support.checkpoints import (
    ARCHITECTURE,
    a_checkpoint,
    overflowing_checkpoint,
    with_weights,
)
from tests.support.factories import noise_image
from tests.support.published_layouts import CLIP, HEAD

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "checkpoints" / "d3-tiny.safetensors"
CPU = torch.device("cpu")
TINY = PREPROCESSINGS["tiny"]


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return Detector.from_checkpoint(SHIPPED, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def residual() -> Detector:
    """Untrained; crops of 64 pixels, four at most, patches of 16 and two permutations."""
    return Detector(a_checkpoint(), device=CPU, precision="fp32")


@pytest.fixture(scope="module")
def clip() -> Detector:
    """The published layout with tiny weights; views of 224 pixels, patches of 14."""
    return Detector.from_checkpoint(HEAD, clip_weights=CLIP, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def clip_of_three_shuffles(tmp_path_factory) -> Detector:
    path = tmp_path_factory.mktemp("clip") / "three.safetensors"
    save(replace(load(HEAD, clip_weights=CLIP), permutations=3), path)
    return Detector.from_checkpoint(path, device="cpu", precision="fp32")


DETECTORS = ["residual", "clip", "clip_of_three_shuffles"]


@pytest.fixture(params=DETECTORS)
def detector(request) -> Detector:
    return request.getfixturevalue(request.param)


def sample_crops() -> list[Image.Image]:
    """Return a crop of 256 × 256 from each sample image, without a change of its traces."""
    crops = []
    for path in sorted((ROOT / "samples").glob("*.jpg")):
        with Image.open(path) as image:
            if min(image.size) < 350:  # pictures of generators that the small tower does not know
                continue
            left, top = image.width // 2 - 128, image.height // 2 - 128
            crops.append(image.convert("RGB").crop((left, top, left + 256, top + 256)))
    return crops


def small_network(tower: str) -> D3Network:
    """Untrained, with a residual or a CLIP tower; crops of 64 pixels, patches of 16."""
    config = {
        "residual": ARCHITECTURE.tower,
        "clip": ClipTowerConfig(64, 2, patch_size=16),
        "clip_read_early": ClipTowerConfig(64, 3, patch_size=16, reads=(0, 1), features=16),
    }[tower]
    torch.manual_seed(0)
    network = D3Network(replace(ARCHITECTURE, tower=config))
    return network.eval().requires_grad_(requires_grad=False)


# Shape and places


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((64, 64), (4, 4)),
        ((128, 64), (4, 8)),
        ((64, 128), (8, 4)),
        ((70, 50), (3, 4)),
        ((20, 9), (1, 1)),
        ((1, 1), (1, 1)),
        ((1, 100), (6, 1)),
    ],
)
def test_the_map_has_a_cell_for_each_patch_of_the_image(residual, size, shape):
    evidence = residual.explain(noise_image(size=size))
    assert isinstance(evidence, Evidence)
    assert evidence.map.shape == shape
    assert evidence.map.dtype == np.float32
    assert np.isfinite(evidence.map).all()


@pytest.mark.parametrize("size", [(640, 480), (90, 300), (13, 5)])
def test_a_resized_image_has_the_patches_of_its_view(clip, size):
    evidence = clip.explain(noise_image(size=size))
    assert evidence.map.shape == (16, 16)
    assert np.isfinite(evidence.map).all()


def test_cells_outside_of_the_crops_are_not_numbers(residual):
    seen = np.isfinite(residual.explain(noise_image(size=(640, 64))).map)
    assert seen.shape == (4, 40)
    columns = seen.all(axis=0)
    assert (columns == seen.any(axis=0)).all()
    assert 16 <= columns.sum() <= 20  # four crops of four cells, and cells half seen
    assert columns[0]
    assert columns[-1]


@pytest.mark.parametrize("size", [(8192, 8192), (8660, 5773), (30000, 20), (200, 65500)])
def test_the_map_of_a_huge_image_stays_small(size):
    rows, columns = map_shape(TINY, 32, *size)
    assert max(rows, columns) == MAX_CELLS
    assert min(rows, columns) >= 1
    pixels = [np.ones((256, 256))] * len(list(crop_places(TINY, *size)))
    cells = evidence_map(pixels, crop_places(TINY, *size), (rows, columns), patch=32)
    assert np.nanmin(cells) == np.nanmax(cells) == 32**2


@pytest.mark.parametrize("size", [(256, 256), (300, 700), (5, 257), (1, 1), (2000, 1000)])
def test_the_places_are_those_of_the_pixels_that_the_crops_hold(size):
    width, height = size
    ys, xs = np.mgrid[:height, :width]
    picture = np.stack([xs % 256, ys % 256, xs // 256 + 16 * (ys // 256)], axis=2)
    plain = replace(TINY, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    crops = plain(Image.fromarray(picture.astype(np.uint8))).round().int().numpy()
    places = list(crop_places(TINY, width, height))
    assert len(places) == len(crops)
    for crop, (rows, columns) in zip(crops, places, strict=True):
        held = crop[0] + 256 * (crop[2] % 16), crop[1] + 256 * (crop[2] // 16)
        assert (held[0] == (columns * width).astype(int)[None]).all()
        assert (held[1] == (rows * height).astype(int)[:, None]).all()


def test_overlapping_crops_are_averaged():
    size = 64
    wide = Preprocessing(kind="crops", size=size, max_crops=2)
    crops = [np.full((size, size), 1.0), np.full((size, size), 3.0)]
    [row] = evidence_map(crops, crop_places(wide, 96, 64), (1, 3), patch=16)
    assert row.tolist() == [256, 512, 768]


def test_the_map_of_a_reduced_image_lies_over_the_whole_image():
    reducing = Preprocessing(kind="crops", size=32, max_crops=2, short_side=32)
    assert map_shape(reducing, 16, 128, 64) == (2, 4)
    left, right = crop_places(reducing, 128, 64)
    assert left[1].max() < 0.5 < right[1].min()
    assert left[0].min() < 0.05
    assert right[1].max() > 0.95


def test_a_mirrored_part_counts_where_its_pixels_are():
    small = Preprocessing(kind="crops", size=64)
    crop = np.zeros((64, 64))
    crop[:, 32:] = 1  # the first 32 columns, mirrored; the last of them is there once
    [row] = evidence_map([crop], crop_places(small, 32, 64), (1, 2), patch=16)
    assert row.tolist() == pytest.approx([256 * 17 / 33, 256 * 15 / 31])


# Values


def test_the_logit_is_that_of_the_image(detector):
    for size in [(64, 64), (150, 70), (20, 30)]:
        image = noise_image(size=size)
        assert detector.explain(image).logit == pytest.approx(
            float(detector.logits([image])[0]), abs=1e-5
        )


def test_the_map_changes_its_sign_with_the_logit(request):
    head = dict.fromkeys(("attention_head.fc.weight", "attention_head.fc.bias"), torch.Tensor.neg_)
    turned = Detector(with_weights(a_checkpoint(), head), device=CPU, precision="fp32")
    plain = request.getfixturevalue("residual").explain(noise_image())
    assert turned.explain(noise_image()).logit == pytest.approx(-plain.logit, abs=1e-6)
    assert turned.explain(noise_image()).map == pytest.approx(-plain.map, abs=1e-6)


def test_the_values_add_up_to_the_gradient_along_the_residuals():
    """To first order, the logit grows by the map's sum per growth of the residuals."""
    network = small_network("residual")
    crop, order = torch.randn(1, 3, 64, 64), torch.randperm(16)[None]
    logit, pixels = attribute(network, crop, order)
    assert logit == pytest.approx(network(crop, order).item(), abs=1e-5)
    assert pixels.shape == (64, 64)
    slope = slope_of_the_residuals(network, crop, order)
    assert pixels.sum() == pytest.approx(slope, rel=0.02)


def slope_of_the_residuals(network: D3Network, crop: torch.Tensor, order: torch.Tensor) -> float:
    """Return the growth of the logit per growth of the residuals, by central differences."""

    def logit(factor: float) -> float:
        views = torch.cat([shuffle_patches(crop, order[0], 16), crop])
        tower, residuals = network.tower, network.tower.stem(views) * factor
        seen = torch.cat([tower.spatial(residuals), tower.spectral(residuals)], dim=1)
        shuffled, original = tower.norm(tower.project(seen)).split(1)
        return network.classify(shuffled[None], original).item()

    return (logit(1.01) - logit(0.99)) / 0.02


@pytest.mark.parametrize("tower", ["residual", "clip", "clip_read_early"])
def test_both_views_count_in_the_place_of_the_original(tower):
    """If the views and their weights in the head change roles, the map is the same, shuffled."""
    network, turned = small_network(tower), small_network(tower)
    turned.attention_head.fc.weight[:] = network.attention_head.fc.weight.roll(
        network.architecture.features, dims=1
    )
    crop, order = torch.randn(1, 3, 64, 64), torch.randperm(16)[None]
    logit, pixels = attribute(network, crop, order)
    shuffled = shuffle_patches(crop, order[0], 16)
    other_logit, other_pixels = attribute(turned, shuffled, order.argsort(dim=1))
    assert other_logit == pytest.approx(logit, abs=1e-5)
    expected = shuffle_patches(torch.from_numpy(pixels)[None, None], order[0], 16)[0, 0].numpy()
    assert np.abs(other_pixels - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("tower", ["residual", "clip", "clip_read_early"])
def test_several_permutations_give_the_mean_of_their_maps(tower):
    network = small_network(tower)
    crop, orders = torch.randn(1, 3, 64, 64), torch.stack([torch.randperm(16) for _ in range(3)])
    logit, pixels = attribute(network, crop, orders)
    each = [attribute(network, crop, order[None]) for order in orders]
    assert logit == pytest.approx(np.mean([one for one, _ in each]), abs=1e-5)
    mean = np.mean([one for _, one in each], axis=0)
    assert np.abs(pixels - mean).max() < 1e-4 * np.abs(mean).max()


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("photograph", [3, 4, 5])
def test_a_trace_in_one_half_is_found_in_that_half(shipped, photograph, half):
    """One half of a photograph is up-sampled by pixel repetition, the other left as it is."""
    image = sample_crops()[photograph]
    assert shipped.explain(image).logit < 0
    enlarged = image.resize((128, 128), Image.Resampling.BOX).resize((256, 256), 0)
    left = 128 * half
    image.paste(enlarged.crop((left, 0, left + 128, 256)), (left, 0))
    evidence = shipped.explain(image)
    assert evidence.logit > 0
    halves = np.split(evidence.map, 2, axis=1)
    assert halves[half].sum() > max(0, halves[1 - half].sum())
    important = np.split(most_important(evidence.map, 1.0), 2, axis=1)
    assert important[half].sum() > important[1 - half].sum()


@pytest.mark.parametrize("mask", [blurred, mean_coloured])
def test_masking_important_cells_moves_the_logit_twice_as_much_as_random_ones(shipped, mask):
    important, random = [], []
    for number, image in enumerate(sample_crops()):
        evidence = shipped.explain(image)
        sign = np.sign(evidence.logit)
        rng = np.random.default_rng(number)
        chosen = [most_important(evidence.map, sign)]
        chosen += [random_cells(evidence.map, rng) for _ in range(4)]
        logits = shipped.logits([mask(image, cells) for cells in chosen])
        movements = sign * (evidence.logit - logits)
        important.append(movements[0])
        random.append(movements[1:].mean())
    assert np.mean(important) > 0.3
    assert np.mean(important) >= 2 * np.mean(random)
    assert np.median(important) >= 2 * np.median(random)


# Determinism


def test_explaining_is_deterministic_and_does_not_change_the_detector(detector):
    image = noise_image(size=(100, 80))
    before = detector.logits([image])
    modules = {name: type(module) for name, module in detector._network.named_modules()}
    first, second = detector.explain(image), detector.explain(image)
    assert first.map.tobytes() == second.map.tobytes()
    assert first.logit == second.logit
    assert (detector.logits([image]) == before).all()
    assert {name: type(module) for name, module in detector._network.named_modules()} == modules
    parameters = list(detector._network.parameters())
    assert not any(each.requires_grad or each.grad is not None for each in parameters)


def test_threads_that_share_a_detector_get_the_same_maps(detector):
    images = [noise_image(size=(90, 60 + seed), seed=seed) for seed in range(4)]
    expected = [detector.explain(image).map.tobytes() for image in images]
    logits = detector.logits(images)
    with ThreadPoolExecutor(4) as threads:
        maps = list(threads.map(detector.explain, images * 3))
        scored = list(threads.map(detector.logits, [images] * 4))
    assert [each.map.tobytes() for each in maps] == expected * 3
    assert all((each == logits).all() for each in scored)


def test_explaining_works_where_gradients_are_off(detector):
    expected = detector.explain(noise_image()).map
    with torch.inference_mode():
        assert (detector.explain(noise_image()).map == expected).all()
    with torch.no_grad():
        assert (detector.explain(noise_image()).map == expected).all()


def test_the_precision_of_the_scores_does_not_change_the_map(residual):
    coarse = Detector(a_checkpoint(), device=CPU, precision="bf16")
    expected = residual.explain(noise_image())
    assert (coarse.explain(noise_image()).map == expected.map).all()
    assert coarse.explain(noise_image()).logit == expected.logit


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_gives_nearly_the_same_map(clip, precision):
    gpu = Detector.from_checkpoint(HEAD, CLIP, device="cuda", precision=precision)
    expected = clip.explain(noise_image()).map
    difference = np.abs(gpu.explain(noise_image()).map - expected).max()
    assert difference < 0.05 * np.abs(expected).max()


# Images in


def test_bytes_paths_and_pictures_give_the_same_map(residual, tmp_path):
    path = tmp_path / "picture.png"
    noise_image(size=(90, 80)).save(path)
    expected = residual.explain(noise_image(size=(90, 80))).map
    for source in (path, str(path), path.read_bytes()):
        assert (residual.explain(source).map == expected).all()


def test_a_turned_image_is_explained_upright(residual, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    noise_image(size=(128, 64)).save(path, exif=exif)
    assert residual.explain(path).map.shape == (8, 4)


def test_a_prepared_image_is_refused(detector):
    with pytest.raises(TypeError, match="lacks the image's size"):
        detector.explain(detector.prepare(noise_image()))


def test_an_unreadable_image_is_a_typed_error(residual):
    with pytest.raises(UnsupportedImageError):
        residual.explain(b"not an image")


def test_an_overflow_is_an_error_and_no_map():
    detector = Detector(overflowing_checkpoint(), device=CPU, precision="fp32")
    with pytest.raises(D3Error, match="no finite number in fp32"):
        detector.explain(noise_image())
