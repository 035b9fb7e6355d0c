from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY
from torch import Tensor

from detection.d3 import Detector
from detection.d3.errors import D3Error
from detection.judging import scoring
from detection.judging.active_detector import get_detector
from detection.judging.batcher import results_of
from detection.judging.predict import predict_image
from tests.support.api import images_judged
from tests.support.factories import an_upload, noise_image
from tests.support.waiting import eventually

pytestmark = [pytest.mark.stateless, pytest.mark.usefixtures("tiny_checkpoint")]


class Held:
    """A model that blocks its first call while images queue up. ``sizes`` lists all calls."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._started, self._go = threading.Event(), threading.Event()
        self._scores = Detector.scores

    def scores(self, detector: Detector, images: list[Tensor]) -> list[float]:
        self.sizes.append(len(images))
        self._started.set()
        assert self._go.wait(30)
        return self._scores(detector, images)

    def ask(self, *questions: tuple[Detector, Tensor]) -> list[Future[float]]:
        """Ask each question in a thread: the first, and during its call of the model the others."""
        with ThreadPoolExecutor(len(questions)) as requests:
            try:
                first = requests.submit(fake_score, *questions[0])
                assert self._started.wait(30)
                others = [requests.submit(fake_score, *question) for question in questions[1:]]
                assert eventually(lambda: waiting_images() == len(others))
            finally:
                self._go.set()
        return [first, *others]


@pytest.fixture
def held(monkeypatch) -> Held:
    get_detector()  # loading a detector may try it
    held = Held()

    def scores(self, images):
        return held.scores(self, images)

    monkeypatch.setattr(scoring, "_batcher", scoring.new_batcher(threads=1))
    monkeypatch.setattr(Detector, "scores", scores)
    return held


@pytest.fixture
def as_on_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(scoring, "MAX_ON_CPU", scoring.MAX_ON_GPU)


def question(detector: Detector, seed: int) -> tuple[Detector, Tensor]:
    return detector, detector.prepare(noise_image(seed=seed))


def fake_score(detector: Detector, image: Tensor) -> float:
    [score] = results_of(scoring.ask_for_scores(detector, [image]))
    return score


def waiting_images() -> float:
    return REGISTRY.get_sample_value("d3_model_queue_images")


def test_on_a_cpu_an_image_does_not_wait_for_others_of_its_call(held):
    answers = held.ask(*(question(get_detector(), seed) for seed in range(3)))

    assert held.sizes == [1, 1, 1]
    assert all(answer.result() for answer in answers)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_requests_during_a_call_of_the_model_share_the_next_one(held):
    questions = [question(get_detector(), seed) for seed in range(6)]

    answers = held.ask(*questions)

    assert held.sizes == [1, 5]
    assert waiting_images() == 0
    alone = [detector.scores([image]) for detector, image in questions]
    assert [[answer.result()] for answer in answers] == alone


@pytest.mark.usefixtures("as_on_a_gpu")
def test_two_detectors_share_no_call(held, tiny_checkpoint):
    one, other = get_detector(), Detector.from_checkpoint(tiny_checkpoint, precision="fp32")
    detectors = [one, one, other, one, other]

    answers = held.ask(*(question(detector, seed) for seed, detector in enumerate(detectors)))

    assert all(answer.result() for answer in answers)
    assert held.sizes == [1, 2, 2]


@pytest.mark.usefixtures("as_on_a_gpu")
def test_an_image_that_the_network_cannot_judge_fails_alone(held):
    detector = get_detector()
    (_, image), good, (_, other) = (question(detector, seed) for seed in range(3))

    answers = held.ask((detector, image), good, (detector, other * float("nan")))

    assert answers[0].result()
    assert [answers[1].result()] == detector.scores([good[1]])
    with pytest.raises(D3Error, match="finite"):
        answers[2].result()


def groups_until_now() -> tuple[float, float]:
    """Return the number of calls of the model, and of their images."""
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
