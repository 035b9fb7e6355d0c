from __future__ import annotations

import re

import numpy as np
import pytest
from django.core.management import CommandError
from PIL import Image

from detection.workbench.faithfulness import (
    Faithfulness,
    Movement,
    blurred,
    compare,
    comparison_table,
    draw_samples,
    mean_coloured,
    most_important,
    random_cells,
)
from tests.support.commands import printed_by
from tests.support.factories import noise_image
from tests.support.image_sets import labelled_images

pytestmark = [
    pytest.mark.stateless,
    pytest.mark.cpu_kind,
    pytest.mark.usefixtures("tiny_checkpoint"),
]


def measure_evidence(*arguments: object) -> str:
    return printed_by("measure_evidence", *arguments)


# The command


def test_the_command_prints_a_line_for_each_mask_and_verdict(tmp_path):
    printed = measure_evidence(labelled_images(tmp_path, sources=["a", "b"], images=2))
    number = r"-?(?:\d+\.\d\d|∞)"
    cell = rf" +{number} \({number} to {number}\)"
    lines = re.findall(rf"^(blur|mean colour) +(all|FAKE|REAL) +(\d+){cell * 4}$", printed, re.M)
    assert [int(count) for _, verdict, count in lines if verdict == "all"] == [8, 8]
    assert sum(int(count) for _, verdict, count in lines if verdict != "all") == 16
    assert re.search(r"^d3-test [0-9a-f]{16}, seed 0\. ", printed, re.M)


def test_the_command_prints_the_same_each_time(tmp_path):
    root = labelled_images(tmp_path, images=3)
    assert measure_evidence(root, "--limit", 4) == measure_evidence(root, "--limit", 4)
    assert measure_evidence(root, "--seed", 1) != measure_evidence(root)


def test_a_limit_and_a_split_choose_the_images(tmp_path):
    printed = measure_evidence(
        labelled_images(tmp_path, split="val", images=3), "--split", "val", "--limit", 2
    )
    assert re.search(r"^blur +all +2 ", printed, re.M)


def test_unreadable_images_are_named_and_do_not_stop_the_command(tmp_path):
    root = labelled_images(tmp_path, images=1)
    (root / "test/0_real/broken.jpg").write_bytes(b"")
    printed = measure_evidence(root)
    assert f"{root / 'test/0_real/broken.jpg'}: The file is empty.\n" in printed
    assert re.search(r"^blur +all +2 ", printed, re.M)


def test_a_data_set_without_readable_images_is_one_sentence(tmp_path):
    root = labelled_images(tmp_path, images=0)
    (root / "test/0_real/broken.jpg").write_bytes(b"")
    with pytest.raises(CommandError, match=r"^None of the 1 images could be read\.$"):
        measure_evidence(root)


def test_a_missing_data_set_is_one_sentence(tmp_path):
    with pytest.raises(CommandError, match=f"^{tmp_path}/nowhere .*") as caught:
        measure_evidence(tmp_path / "nowhere")
    assert caught.value.returncode == 1


def test_a_limit_of_zero_is_refused(tmp_path):
    with pytest.raises(CommandError, match="'0' is not a whole number of at least 1"):
        measure_evidence(tmp_path, "--limit", "0")


# The measurement


def test_the_most_important_cells_are_those_that_pushed_towards_the_verdict():
    evidence = np.array(
        [[5.0, -1.0, np.nan], [0.0, -7.0, 2.0], [1.0, -2.0, 0.5], [0.0, 0.0, np.nan]]
    )
    assert np.argwhere(most_important(evidence, 1)).tolist() == [[0, 0], [1, 2]]
    assert np.argwhere(most_important(evidence, -1)).tolist() == [[1, 1], [2, 1]]


def test_random_cells_are_as_many_and_lie_in_crops():
    evidence = np.ones((10, 10), dtype=np.float32)
    evidence[:5] = np.nan
    cells = random_cells(evidence, np.random.default_rng(0))
    assert cells.sum() == most_important(evidence, 1).sum() == 10
    assert not cells[:5].any()


def test_the_masks_change_their_cells_and_nothing_far_from_them():
    image = noise_image(size=(160, 160))
    cells = np.zeros((5, 5), dtype=bool)
    cells[1, 3] = True
    for mask in (blurred, mean_coloured):
        changed = np.asarray(mask(image, cells)).astype(int)
        inside = changed[40:56, 104:120]
        assert inside.std() < 12 < np.asarray(image).std()
        rest = np.ones((160, 160), dtype=bool)
        rest[24:72, 88:136] = False
        assert (changed == np.asarray(image))[rest].all()


def test_the_mean_colour_is_that_of_the_image():
    image = Image.new("RGB", (20, 10), (10, 20, 30))
    image.paste((30, 40, 50), (10, 0, 20, 10))
    masked = mean_coloured(image, np.array([[True, False]]))
    assert masked.getpixel((0, 0)) == (20, 30, 40)
    assert masked.getpixel((19, 0)) == (30, 40, 50)


def measured(important: list[float], random: list[float], logits: list[float]) -> Faithfulness:
    movement = Movement("blur", np.array(important), np.array(random))
    return Faithfulness(None, np.array(logits), (movement,), ())


def test_the_comparison_has_medians_and_ratios_by_verdict():
    everything, fake, real = compare(
        measured([1, 2, 9, 4, 4], [1, 1, 1, 2, 2], logits=[1, 2, 3, -1, -2])
    )
    assert (everything.verdict, everything.images) == ("all", 5)
    assert (everything.important.value, everything.random.value) == (4, 1)
    assert (fake.verdict, fake.images) == ("FAKE", 3)
    assert (fake.ratio_of_medians.value, fake.ratio_of_means.value) == (2, 4)
    assert fake.important.low <= 2 <= fake.important.high
    assert (real.ratio_of_medians.low, real.ratio_of_medians.high) == (2, 2)


def test_random_masks_without_effect_give_an_infinite_ratio():
    [everything, real] = compare(measured([1, 2], [0, -1], logits=[-1, -2]))
    assert real.verdict == "REAL"
    assert everything.ratio_of_means.value == np.inf
    assert "∞ (∞ to ∞)" in comparison_table([everything])


def test_drawn_samples_stay_in_order():
    samples = list(range(100))
    drawn = draw_samples(samples, 10, seed=3)
    assert drawn == sorted(drawn)
    assert len(set(drawn)) == 10
    assert draw_samples(samples, None) == samples
    assert draw_samples(samples, 10, seed=4) != drawn
