from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from detection.d3 import Detector
from detection.d3.dataset import Sample, scan_dataset
from detection.d3.errors import EvaluationError
from detection.d3.evaluation import evaluate, parse_perturbations
from tests.support.image_sets import labelled_images

pytestmark = pytest.mark.stateless


@pytest.fixture(scope="module")
def detector(tiny_checkpoint) -> Detector:
    return Detector.from_checkpoint(tiny_checkpoint, device="cpu")


def scores_of(detector: Detector, images: list) -> list[float]:
    return [verdict.fake_score for verdict in detector.detect(images)]


def test_the_scores_are_those_that_the_detector_gives_each_file(detector, tmp_path):
    samples = scan_dataset(labelled_images(tmp_path, sources=["a", "b"]), "test")

    evaluation = evaluate(detector=detector, samples=samples, batch_size=3)

    assert evaluation.samples == tuple(samples)
    expected = scores_of(detector, [sample.path for sample in samples])
    assert evaluation.clean.scores.tolist() == expected
    assert evaluation.labels.tolist() == [sample.label for sample in samples]
    assert evaluation.sources.tolist() == [sample.source for sample in samples]


def test_each_perturbation_is_a_condition_with_scores_of_the_changed_images(detector, tmp_path):
    samples = scan_dataset(labelled_images(tmp_path), "test")
    perturbations = parse_perturbations(["jpeg=30", "resize=0.5"])

    evaluation = evaluate(
        detector=detector, samples=samples, perturbations=perturbations, batch_size=4
    )

    assert [each.name for each in evaluation.conditions] == ["clean", "jpeg=30", "resize=0.5"]
    images = [Image.open(sample.path) for sample in samples]
    for perturb, condition in zip(perturbations, evaluation.conditions[1:], strict=True):
        assert condition.scores.tolist() == scores_of(detector, [perturb(each) for each in images])


def test_the_metrics_are_at_the_threshold_of_the_detector(detector, tmp_path):
    samples = scan_dataset(labelled_images(tmp_path), "test")

    evaluation = evaluate(detector=detector, samples=samples)

    verdicts = detector.detect([sample.path for sample in samples])
    hits = [
        (verdict.label == "FAKE") == sample.label
        for verdict, sample in zip(verdicts, samples, strict=True)
    ]
    accuracy = evaluation.clean.measurement.mean.accuracy
    assert accuracy.value == pytest.approx(sum(hits) / len(hits))


def test_unreadable_images_are_listed_and_count_nowhere(detector, tmp_path):
    root = labelled_images(tmp_path)
    (root / "test/0_real/broken.png").write_bytes(b"not an image")
    samples = scan_dataset(root, "test")

    evaluation = evaluate(
        detector=detector, samples=samples, perturbations=parse_perturbations(["blur=1"])
    )

    [unreadable] = evaluation.unreadable
    assert unreadable.sample.path.name == "broken.png"
    assert "not an image of a type that can be read" in unreadable.reason
    assert len(evaluation.samples) == len(samples) - 1
    assert {len(each.scores) for each in evaluation.conditions} == {len(samples) - 1}


def test_an_image_that_cannot_be_perturbed_is_left_out_of_every_condition(detector, tmp_path):
    root = labelled_images(tmp_path)
    Image.new("RGB", (70_000, 1)).save(root / "test/0_real/wide.png")

    evaluation = evaluate(
        detector=detector,
        samples=scan_dataset(root, "test"),
        perturbations=parse_perturbations(["jpeg=90"]),
    )

    assert [each.sample.path.name for each in evaluation.unreadable] == ["wide.png"]


def test_a_data_set_without_sources_is_one_source_called_all(detector, tmp_path):
    samples = scan_dataset(labelled_images(tmp_path), "test")

    evaluation = evaluate(detector=detector, samples=samples)

    assert [each.source for each in evaluation.clean.measurement.sources] == ["all"]


def test_nothing_but_unreadable_images_is_an_error(detector):
    missing = [Sample(path=Path("missing.png"), source="", label=0)] * 2

    with pytest.raises(EvaluationError, match="None of the 2 images could be read"):
        evaluate(detector=detector, samples=missing)


def test_samples_are_read_only_a_little_ahead_of_the_detector(detector, tmp_path):
    samples = scan_dataset(labelled_images(tmp_path, images=6), "test")
    taken, seen_at_first_detection = [], []

    class Watching:
        info = detector.info

        def detect(self, images):
            seen_at_first_detection.append(len(taken))
            return detector.detect(images)

    def watched():
        for sample in samples:
            taken.append(sample)
            yield sample

    evaluate(detector=Watching(), samples=watched(), batch_size=2)

    assert len(samples) == 12
    assert seen_at_first_detection[0] <= 4
