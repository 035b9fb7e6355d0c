from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from detection.d3.checkpoints import describe
from detection.d3.dataset import Sample
from detection.d3.errors import CheckpointError, EvaluationError
from detection.d3.evaluation import check_recordable
from detection.d3.evaluation.recording import score_bins

pytestmark = pytest.mark.stateless


def scores_and_labels(pictures: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, pictures)
    return np.clip(rng.normal(0.35 + 0.3 * labels, 0.25), 0, 1), labels


def test_the_bins_count_each_picture_once_where_its_score_lies():
    scores, labels = scores_and_labels(1000)

    bins = score_bins(scores, labels)

    assert (bins[0].low, bins[-1].high) == (0, 1)
    for each in bins:
        own = (scores > each.low) & (scores <= each.high) | (scores == 0) & (each is bins[0])
        assert each.real == (own & (labels == 0)).sum()
        assert each.fake == (own & (labels == 1)).sum()


@pytest.mark.parametrize("pictures", [60, 100, 999, 5000])
def test_bins_have_enough_pictures_and_the_share_of_fakes_rises_with_the_score(pictures):
    bins = score_bins(*scores_and_labels(pictures))

    assert all(each.real + each.fake >= 30 for each in bins)
    shares = [each.fake / (each.real + each.fake) for each in bins]
    assert shares == sorted(shares)
    assert len(set(shares)) == len(bins) <= 20


def test_many_pictures_of_few_mistakes_have_fine_bins_where_the_shares_differ():
    scores, labels = scores_and_labels(5000)

    assert len(score_bins(scores, labels)) > 10


def test_equal_scores_share_a_bin():
    scores = np.repeat([0.1, 0.9, 1.0], 50)
    labels = np.concatenate([np.repeat([0, 1], [45, 5]), np.repeat([0, 1], [10, 40]), [1] * 50])

    assert [tuple(each) for each in score_bins(scores, labels)] == [
        (0.0, 0.1, 45, 5),
        (0.1, 0.9, 10, 40),
        (0.9, 1.0, 0, 50),
    ]


def test_scores_that_say_nothing_are_one_bin():
    assert score_bins(np.full(60, 0.5), np.repeat([0, 1], 30)) == ((0.0, 1.0, 30, 30),)


def samples(real: int, fake: int) -> list[Sample]:
    return [Sample(Path("x"), "", label) for label in [0] * real + [1] * fake]


def test_a_measurement_of_few_pictures_is_not_recorded(tiny_checkpoint):
    version = describe(tiny_checkpoint)["version"]

    check_recordable(tiny_checkpoint, version, samples(30, 30))
    with pytest.raises(EvaluationError, match="there are 29 real and 30 fake ones"):
        check_recordable(tiny_checkpoint, version, samples(29, 30))


def test_a_measurement_with_other_weights_is_not_recorded(tiny_checkpoint):
    with pytest.raises(CheckpointError, match="with another CLIP tower"):
        check_recordable(tiny_checkpoint, "0000000000000000", samples(30, 30))


def test_a_published_layout_cannot_hold_a_measurement(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "head.pth")

    with pytest.raises(CheckpointError, match="import_checkpoint"):
        check_recordable(tmp_path / "head.pth", "0000000000000000", samples(30, 30))
