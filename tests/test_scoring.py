from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY
from torch import Tensor

from detection import scoring
from detection.apps import get_detector
from detection.batching import results_of
from detection.d3 import Detector
from detection.d3.errors import D3Error
from detection.services import predict_image
from tests.api import images_judged
from tests.factories import an_upload, noise_image
from tests.waiting import eventually

pytestmark = [pytest.mark.stateless, pytest.mark.usefixtures("tiny_checkpoint")]


@pytest.fixture
def held(monkeypatch):
    """The model holds its first call until it is let go; then the sizes of its calls are known."""
    get_detector()  # loading one may try it
    started, go, sizes = threading.Event(), threading.Event(), []
    judge = Detector.scores
    monkeypatch.setattr(scoring, "_batcher", scoring.a_batcher(threads=1))

    def scores(self, images):
        sizes.append(len(images))
        started.set()
        assert go.wait(30)
        return judge(self, images)

    monkeypatch.setattr(Detector, "scores", scores)
    yield started, go, sizes
    go.set()


def prepared(detector: Detector, seed: int):
    return detector.prepare(noise_image(seed=seed))


def fake_scores(detector: Detector, images: list[Tensor]) -> list[float]:
    return results_of(scoring.ask_for_scores(detector, images))


def waiting_images() -> float:
    return REGISTRY.get_sample_value("d3_model_queue_images")


def test_requests_that_come_while_the_model_works_share_its_next_call(held):
    started, go, sizes = held
    detector = get_detector()
    with ThreadPoolExecutor(6) as requests:
        first = requests.submit(fake_scores, detector, [prepared(detector, 0)])
        assert started.wait(30)
        others = [
            requests.submit(fake_scores, detector, [prepared(detector, seed)])
            for seed in range(1, 6)
        ]
        assert eventually(lambda: waiting_images() == 5)
        go.set()
        together = [answer.result(30) for answer in [first, *others]]

    assert sizes == [1, 5]
    assert waiting_images() == 0
    assert together == [detector.scores([prepared(detector, seed)]) for seed in range(6)]


def test_two_detectors_share_no_call(held, tiny_checkpoint):
    started, go, sizes = held
    one, other = get_detector(), Detector.from_checkpoint(tiny_checkpoint, precision="fp32")
    with ThreadPoolExecutor(5) as requests:
        answers = [requests.submit(fake_scores, one, [prepared(one, 0)])]
        assert started.wait(30)
        for seed, detector in enumerate([one, other, one, other], start=1):
            images = [prepared(detector, seed)]
            answers.append(requests.submit(fake_scores, detector, images))
        assert eventually(lambda: waiting_images() == 4)
        go.set()
        for answer in answers:
            answer.result(30)

    assert sizes == [1, 2, 2]


def test_an_image_that_the_network_cannot_judge_fails_alone(held):
    started, go, _ = held
    detector = get_detector()
    with ThreadPoolExecutor(3) as requests:
        first = requests.submit(fake_scores, detector, [prepared(detector, 0)])
        assert started.wait(30)
        good = requests.submit(fake_scores, detector, [prepared(detector, 1)])
        broken = prepared(detector, 2) * float("nan")
        bad = requests.submit(fake_scores, detector, [broken])
        assert eventually(lambda: waiting_images() == 2)
        go.set()

        assert first.result(30)
        assert good.result(30) == detector.scores([prepared(detector, 1)])
        with pytest.raises(D3Error, match="finite"):
            bad.result(30)


def groups_until_now() -> tuple[float, float]:
    """Calls of the model, and images in them."""
    return (
        REGISTRY.get_sample_value("d3_model_group_images_count"),
        REGISTRY.get_sample_value("d3_model_group_images_sum"),
    )


@pytest.mark.django_db
def test_the_groups_are_in_the_metrics():
    (calls, images), judged = groups_until_now(), images_judged()

    predict_image(upload=an_upload(seed=77), source="api", store=False)

    assert groups_until_now() == (calls + 1, images + 1)
    assert images_judged() == judged + 1
