from __future__ import annotations

import threading
from contextlib import ExitStack, suppress

import pytest

from detection.errors import QueueFullError
from detection.models import PredictionBatch
from detection.web import uploads
from detection.web.admission import Admission, Load
from tests.support.api import a_file, assert_nothing_stored, assert_refused
from tests.support.factories import a_prediction
from tests.support.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def an_admission(*, requests: int = 2, images: int = 8, size_bytes: int = 10**6) -> Admission:
    return Admission(Load(requests=requests, images=images, size_bytes=size_bytes))


@pytest.fixture
def crowded(monkeypatch):
    """A function that takes places of the service, which has two."""
    door = an_admission()
    monkeypatch.setattr(uploads, "gate", door)
    monkeypatch.setattr("detection.api.views.predictions.gate", door)
    with ExitStack() as others:

        def take(requests: int) -> Admission:
            for _ in range(requests):
                others.enter_context(door.place())
            return door

        yield take


def full(admission: Admission) -> bool:
    try:
        with admission.place():
            return False
    except QueueFullError:
        return True


def test_a_place_is_free_again_after_its_request_even_after_an_error():
    admission = an_admission(requests=1)
    with suppress(KeyError), admission.place():
        assert full(admission)
        raise KeyError

    assert not full(admission)
    assert admission._inside == Load()


def test_images_count_once_their_number_is_known():
    admission = an_admission(images=8)
    with admission.place() as one, admission.place() as other:
        one.hold_images(6)
        with pytest.raises(QueueFullError):
            other.hold_images(3)
        other.hold_images(2)

    assert admission._inside == Load()


def test_bodies_count_by_their_size():
    admission = an_admission(size_bytes=100)
    with admission.place(size_bytes=60):
        with pytest.raises(QueueFullError), admission.place(size_bytes=41):
            pass
        with admission.place(size_bytes=40):
            pass


def test_a_single_request_is_admitted_whatever_its_size():
    admission = an_admission(images=8, size_bytes=100)
    with admission.place(size_bytes=10_000) as place:
        place.hold_images(50)
        assert full(admission)

    assert not full(admission)


def test_a_crowd_never_gets_more_places_than_there_are():
    admission, most, lock, inside = an_admission(requests=3, images=99), [], threading.Lock(), []

    def enter(times: int) -> None:
        for _ in range(times):
            try:
                with admission.place():
                    with lock:
                        inside.append(1)
                        most.append(len(inside))
                    with lock:
                        inside.pop()
            except QueueFullError:
                pass

    at_once(enter, [200] * 16)

    assert 1 <= max(most) <= 3
    assert admission._inside == Load()


@pytest.mark.parametrize("path", ["/api/predict/", "/predict", "/"])
def test_without_a_free_place_the_answer_is_503_at_once(client, crowded, path, stored_files):
    crowded(2)

    response = client.post(path, {"image": a_file()})

    if path == "/":
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
    else:
        assert_refused(response, 503, "queue_full")
    assert_nothing_stored(stored_files)


@pytest.mark.parametrize("form", [{}, {"async": "true"}, {"store": "false"}])
def test_batches_need_a_place_too(client, crowded, form):
    crowded(2)

    assert_refused(client.post("/api/batches/", {"images": [a_file()], **form}), 503, "queue_full")
    assert not PredictionBatch.objects.exists()


def test_a_batch_with_more_images_than_there_is_room_for_is_refused_and_leaves_nothing(
    client, crowded, stored_files
):
    door = crowded(1)
    images = [a_file(f"{number}.jpg", seed=number) for number in range(8)]

    assert_refused(client.post("/api/batches/", {"images": images}), 503, "queue_full")
    assert_nothing_stored(stored_files)
    assert door._inside == Load(requests=1, images=1)
    assert client.post("/api/batches/", {"images": images[:1]}).status_code == 200


def test_all_frames_of_an_image_need_room_for_as_many_as_may_be_judged(
    client, crowded, stored_files
):
    door = crowded(1)

    response = client.post("/api/predict/", {"image": a_file(), "frames": "all"})

    assert_refused(response, 503, "queue_full")
    assert stored_files() == []
    assert door._inside == Load(requests=1, images=1)


def test_drawing_a_heatmap_needs_a_place_and_reading_one_needs_none(client, crowded):
    pk = client.post("/api/predict/", {"image": a_file(), "explain": "true"}).json()["id"]
    other = a_prediction()
    crowded(2)

    drawn = client.get(f"/api/predictions/{pk}/heatmap/")

    assert drawn.status_code == 200
    assert b"".join(drawn.streaming_content)
    assert_refused(client.get(f"/api/predictions/{other.pk}/heatmap/"), 503, "queue_full")


@pytest.mark.parametrize(
    "path", ["/api/predictions/", "/api/statistics/", "/health", "/metrics", "/", "/history/"]
)
def test_reading_requests_are_answered_while_every_place_is_taken(client, crowded, path):
    crowded(2)

    assert client.get(path).status_code == 200


def test_failed_requests_release_their_places(client, crowded):
    door = crowded(0)
    for data in (b"no image", b""):
        client.post("/api/predict/", {"image": a_file(data=data)})
    client.post("/api/predict/", {})

    assert door._inside == Load()
