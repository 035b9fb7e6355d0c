from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from detection.d3.errors import ImageError, PerturbationError
from detection.d3.evaluation import parse_perturbations
from detection.d3.evaluation.perturbations import Perturbation
from tests.support.factories import noise_image

pytestmark = pytest.mark.stateless


def test_a_specification_gives_one_perturbation_per_amount_in_its_order():
    found = parse_perturbations(["jpeg=90,70", "blur=1.5", "resize=0.5"])

    assert [each.name for each in found] == ["jpeg=90", "jpeg=70", "blur=1.5", "resize=0.5"]


def test_a_perturbation_given_twice_is_applied_once():
    assert parse_perturbations(["jpeg=90,90", "jpeg=90"]) == (Perturbation("jpeg", 90),)


@pytest.mark.parametrize("specification", ["rotate=90", "", "=3", "JPEG=3", "90"])
def test_a_wrong_specification_is_refused_with_an_example(specification):
    with pytest.raises(PerturbationError, match="is not a perturbation; use jpeg=90"):
        parse_perturbations([specification])


@pytest.mark.parametrize(
    "specification",
    [
        "jpeg=0",
        "jpeg=101",
        "jpeg=70.5",
        "jpeg=high",
        "jpeg=",
        "jpeg",
        "jpeg=90,",
        "webp=0",
        "screenshot=101",
        "blur=0",
        "blur=-1",
        "blur=inf",
        "resize=0",
        "resize=nan",
        "resize=100",
    ],
)
def test_an_amount_outside_its_range_is_refused(specification):
    with pytest.raises(PerturbationError, match=r"^'.*' is not a .*needs\.$"):
        parse_perturbations([specification])


@pytest.mark.parametrize(("kind", "quality"), [("jpeg", 70), ("webp", 80)])
def test_a_file_type_gives_the_pixels_of_a_file_saved_at_that_quality(kind, quality):
    image, buffer = noise_image(), io.BytesIO()
    image.save(buffer, kind, quality=quality)

    changed = Perturbation(kind, quality)(image)

    assert changed.mode == "RGB"
    assert changed.tobytes() == Image.open(buffer).tobytes()


def test_a_screenshot_is_the_picture_shown_smaller_and_saved_as_jpeg():
    image, buffer = noise_image(size=(100, 50)), io.BytesIO()
    image.resize((80, 40), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)

    changed = Perturbation("screenshot", 85)(image)

    assert changed.size == (80, 40)
    assert changed.tobytes() == Image.open(buffer).tobytes()


def test_blur_spreads_a_point_by_its_sigma():
    point = Image.new("RGB", (41, 41))
    point.putpixel((20, 20), (255, 255, 255))

    row = np.asarray(Perturbation("blur", 2)(point), dtype=float)[..., 0].sum(axis=0)

    spread = np.sqrt((row * (np.arange(41) - 20) ** 2).sum() / row.sum())
    assert spread == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(("factor", "size"), [(0.5, (32, 24)), (1.5, (96, 72)), (0.05, (3, 2))])
def test_resize_multiplies_both_sides(factor, size):
    assert Perturbation("resize", factor)(noise_image(size=(64, 48))).size == size


def test_resize_leaves_at_least_one_pixel():
    assert Perturbation("resize", 0.05)(noise_image(size=(100, 3))).size == (5, 1)


def test_the_image_itself_stays_as_it_is():
    image = noise_image()
    before = image.tobytes()

    for perturbation in parse_perturbations(
        ["jpeg=50", "webp=50", "screenshot=50", "blur=1", "resize=0.5"]
    ):
        perturbation(image)

    assert image.tobytes() == before


@pytest.mark.parametrize("kind", ["jpeg", "webp", "screenshot"])
def test_an_image_too_wide_for_a_file_is_refused(kind):
    with pytest.raises(ImageError, match=f"too large for the perturbation {kind}=90"):
        Perturbation(kind, 90)(Image.new("RGB", (90_000, 1)))
