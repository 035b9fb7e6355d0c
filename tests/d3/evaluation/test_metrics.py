from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from detection.d3.evaluation import metrics as d3_metrics
from detection.d3.evaluation.metrics import METRICS, Measurement, Metrics, reliability_bins

pytestmark = pytest.mark.stateless


def measure(*, sources: Sequence[str] | None = None, **options: Any) -> Measurement:
    """Measure, by default one source at the threshold 0.5, which alone is the uncertain band."""
    sources = ["x"] * len(options["labels"]) if sources is None else sources
    defaults = {"threshold": 0.5, "uncertain": (0.5, 0.5)}
    return d3_metrics.measure(sources=sources, **defaults | options)


def measure_one(
    scores: list[float], labels: list[int], *, threshold: float = 0.5, draws: int = 50
) -> Metrics:
    measurement = measure(scores=scores, labels=labels, threshold=threshold, draws=draws)
    return measurement.sources[0].metrics


def random_measurement(*, images: int = 200) -> Measurement:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, images)
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1).round(2)
    sources = rng.choice(["a", "b"], images)
    return measure(scores=scores, labels=labels, sources=sources)


def test_the_metrics_of_four_images_are_those_worked_out_by_hand():
    metrics = measure_one([0.1, 0.6, 0.4, 0.9], [0, 0, 1, 1])

    # Of the four pairs of a real and a fake image, three are in order.
    assert metrics.auc.value == pytest.approx(3 / 4)
    # Fakes are found at ranks 1 and 3, with precision 1 and 2/3.
    assert metrics.average_precision.value == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.accuracy.value == pytest.approx(1 / 2)
    assert metrics.accuracy_real.value == pytest.approx(1 / 2)
    assert metrics.accuracy_fake.value == pytest.approx(1 / 2)
    assert metrics.brier.value == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    # Each image has a bin to itself.
    assert metrics.calibration_error.value == pytest.approx((0.1 + 0.6 + 0.6 + 0.1) / 4)


def test_balanced_accuracy_gives_both_classes_the_same_weight():
    metrics = measure_one([0.1, 0.1, 0.1, 0.1], [0, 0, 0, 1])

    assert metrics.accuracy.value == pytest.approx(3 / 4)
    assert metrics.balanced_accuracy.value == pytest.approx(1 / 2)


def test_a_score_at_the_threshold_is_called_real():
    assert measure_one([0.3, 0.3], [0, 1], threshold=0.3).accuracy_real.value == 1


def test_equal_scores_count_as_half_in_order():
    assert measure_one([0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1]).auc.value == pytest.approx(0.5)


def test_scores_in_one_bin_are_judged_by_their_mean():
    metrics = measure_one([0.41, 0.43, 0.45, 0.46], [0, 0, 1, 1])

    assert metrics.calibration_error.value == pytest.approx(abs(0.5 - 0.4375))


def test_scores_of_exactly_zero_and_one_are_calibrated_when_they_are_right():
    assert measure_one([0, 0, 1, 1], [0, 0, 1, 1]).calibration_error.value == 0


@pytest.mark.parametrize(("label", "defined"), [(0, "accuracy_real"), (1, "accuracy_fake")])
def test_images_of_one_class_define_only_the_share_of_right_verdicts(label, defined):
    metrics = measure_one([0.2, 0.8], [label, label])

    assert {name for name in METRICS if getattr(metrics, name)} == {defined}
    assert getattr(metrics, defined).value == pytest.approx(1 / 2)


def test_a_source_of_fakes_alone_is_compared_with_the_real_images_of_all_sources():
    measurement = measure(
        scores=[0.2, 0.3, 0.7, 0.1, 0.8, 0.4, 0.9],
        labels=[0, 0, 0, 0, 1, 1, 1],
        sources=["photos"] * 3 + ["both", "both", "fakes", "fakes"],
    )

    both, fakes, photos = measurement.sources
    # Of its eight pairs with the four real images only 0.4 and 0.7 are in the wrong order.
    assert fakes.metrics.auc.value == pytest.approx(7 / 8)
    assert fakes.metrics.accuracy_fake.value == 1 / 2
    assert (fakes.real, fakes.fake) == (0, 2)
    assert {name for name in METRICS if getattr(fakes.metrics, name)} == {"auc", "accuracy_fake"}
    assert both.metrics.auc.value == 1
    assert {name for name in METRICS if getattr(photos.metrics, name)} == {"accuracy_real"}
    assert measurement.mean.auc.value == pytest.approx((1 + 7 / 8) / 2)
    assert measurement.mean.accuracy_real.value == pytest.approx((2 / 3 + 1) / 2)


def test_all_images_pooled_are_measured_as_one_source():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 30)
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    sources = ["photos"] * 30 + ["a"] * 15 + ["b"] * 15

    pooled = measure(scores=scores, labels=labels, sources=sources).pooled

    whole = measure(scores=scores, labels=labels).sources[0]
    assert (pooled.real, pooled.fake) == (whole.real, whole.fake)
    for name in METRICS:
        assert getattr(pooled.metrics, name).value == getattr(whole.metrics, name).value


def test_a_share_of_one_class_has_the_interval_of_wilson():
    found = measure_one([0.9] * 10, [1] * 10).accuracy_fake

    square = 1.959964**2
    assert found.value == found.high == 1
    assert found.low == pytest.approx(10 / (10 + square), abs=1e-6)


def test_verdicts_outside_the_uncertain_band_are_counted():
    measurement = measure(
        scores=[0.1, 0.3, 0.4, 0.6, 0.65, 0.9, 0.9, 0.2],
        labels=[0, 0, 1, 1, 0, 1, 0, 1],
        threshold=0.5,
        uncertain=(0.3, 0.6),
    )

    # 0.3 and 0.6 are in the band; of the five others 0.1 and one 0.9 are right.
    assert measurement.certainty.share.value == pytest.approx(5 / 8)
    assert measurement.certainty.accuracy.value == pytest.approx(2 / 5)


def test_where_every_score_is_uncertain_there_is_no_accuracy_outside_the_band():
    certainty = measure(scores=[0.1, 0.9], labels=[0, 1], uncertain=(0, 1)).certainty

    assert certainty.share.value == 0
    assert certainty.accuracy is None


def test_a_single_image_is_measured():
    metrics = measure_one([0.8], [1])

    assert metrics.accuracy_fake.value == 1
    assert 0.2 < metrics.accuracy_fake.low < 0.21


def test_the_mean_gives_each_source_the_same_weight_whatever_its_size():
    measurement = measure(
        scores=[0.9, 0.1, 0.9, 0.9, 0.9], labels=[0, 0, 0, 0, 0], sources=["a", "a", "b", "b", "b"]
    )

    assert measurement.mean.accuracy_real.value == pytest.approx((1 / 2 + 0) / 2)


def test_the_mean_leaves_out_sources_of_few_images_where_there_are_larger_ones():
    measurement = measure(
        scores=[0.1] * 8 + [0.9] * 8 + [0.05] * 7,
        labels=[0] * 8 + [1] * 15,
        sources=["photos"] * 8 + ["large"] * 8 + ["small"] * 7,
    )

    assert [each.metrics.auc and each.metrics.auc.value for each in measurement.sources] == [
        1,
        None,
        0,
    ]
    assert measurement.mean.auc.value == 1
    assert measurement.averaged == 1


def test_a_source_that_does_not_define_a_metric_is_left_out_of_its_mean():
    measurement = measure(
        scores=[0.1, 0.9, 0.3], labels=[0, 1, 0], sources=["both", "both", "real only"]
    )

    assert measurement.mean.auc.value == 1
    assert measurement.sources[1].metrics.auc is None


def test_sources_are_sorted_with_their_counts():
    measurement = measure(
        scores=[0.1, 0.2, 0.3], labels=[0, 1, 1], sources=["b", "a", "a"], threshold=0.5
    )

    counts = [(each.source, each.real, each.fake) for each in measurement.sources]
    assert counts == [("a", 0, 2), ("b", 1, 0)]


def test_the_same_scores_have_the_same_intervals_each_time():
    assert random_measurement() == random_measurement()


def test_intervals_contain_the_values_of_metrics_that_resampling_does_not_bias():
    for source in random_measurement().sources:
        for name in set(METRICS) - {"calibration_error"}:
            estimate = getattr(source.metrics, name)
            assert estimate.low < estimate.value < estimate.high


def test_an_interval_is_narrower_for_more_images_and_for_the_mean_of_sources():
    def width(metrics: Metrics) -> float:
        return metrics.auc.high - metrics.auc.low

    few, many = random_measurement(images=100), random_measurement(images=1600)

    assert width(many.mean) < width(few.mean) / 2
    assert width(few.mean) < min(width(source.metrics) for source in few.sources)


def test_intervals_are_those_of_scikit_learn_on_resampled_images():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 40)
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1).round(1)  # with ties
    judges = {
        "auc": sklearn_metrics.roc_auc_score,
        "average_precision": sklearn_metrics.average_precision_score,
        "brier": sklearn_metrics.brier_score_loss,
        "accuracy": lambda truth, score: sklearn_metrics.accuracy_score(truth, score > 0.5),
    }
    drawn = {name: [] for name in judges}
    for _ in range(400):
        own = np.concatenate([rng.choice(np.flatnonzero(labels == label), 40) for label in (0, 1)])
        for name, judge in judges.items():
            drawn[name].append(judge(labels[own], scores[own]))

    ours = measure(scores=scores, labels=labels).mean

    for name, values in drawn.items():
        low, high = np.percentile(values, [2.5, 97.5])
        estimate = getattr(ours, name)
        assert estimate.low == pytest.approx(low, abs=0.1 * (high - low))
        assert estimate.high == pytest.approx(high, abs=0.1 * (high - low))


def test_intervals_of_thousands_of_images_agree_with_the_normal_approximation():
    hits, misses = 2250, 250  # of each class; with 1000 draws, more than one block of them
    scores = [0.9] * hits + [0.1] * misses + [0.1] * hits + [0.9] * misses
    estimate = measure_one(scores, [1] * 2500 + [0] * 2500, draws=1000)

    spread = np.sqrt(0.9 * 0.1 / 5000)
    assert estimate.accuracy.low == pytest.approx(0.9 - 1.96 * spread, abs=0.2 * spread)
    assert estimate.accuracy.high == pytest.approx(0.9 + 1.96 * spread, abs=0.2 * spread)


def test_reliability_bins_say_how_many_images_of_a_score_are_fake():
    bins = reliability_bins([0.01, 0.03, 0.95, 0.97], [0, 1, 1, 1])

    assert [each.images for each in bins] == [2, 2]
    assert [each.mean_score for each in bins] == pytest.approx([0.02, 0.96])
    assert [each.fake_share for each in bins] == [0.5, 1.0]
