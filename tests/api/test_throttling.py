from __future__ import annotations

import time
from contextlib import ExitStack

import pytest
from django.core.cache import cache
from django.core.cache.backends.redis import RedisCache
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from detection.models import Prediction
from detection.web import PredictThrottle, counted_images_or_archive
from detection.web.uploads import MAX_ARCHIVES, receive_files
from tests.support.api import BATCHES, a_client, a_file, a_token, a_user, assert_refused
from tests.support.archive_files import PHOTO, archive_of
from tests.support.factories import noise_image
from tests.support.image_files import animated
from tests.support.limits import a_request, redis_cache
from tests.support.servers import RedisServer

pytestmark = [
    pytest.mark.stateless,
    pytest.mark.django_db,
    pytest.mark.usefixtures("tiny_checkpoint", "nothing_counted"),
]

READ = "/api/statistics/"
LIMIT = 30  # seconds, where time-outs take one


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis") / "data") as server:
        yield server


@pytest.fixture
def shared_cache(settings, redis) -> None:
    settings.CACHES = redis_cache(redis)
    cache.clear()


def predicted(client, path: str = "/api/predict/", **request):
    return client.post(path, {"image": a_file(), "store": "false"}, **request)


def batch_predicted(client, count: int):
    return client.post("/api/batches/", {"images": [a_file()] * count, "store": "false"})


def statuses(responses) -> list[int]:
    return [response.status_code for response in responses]


def assert_too_many(response) -> None:
    assert "throttled" in assert_refused(response, 429, "throttled")
    assert 0 < int(response.headers["Retry-After"]) <= 60


def test_without_a_rate_every_request_is_allowed(client):
    assert statuses(client.get(READ) for _ in range(20)) == [200] * 20


def test_too_many_requests_have_a_retry_after(client, rates, stored_files):
    rates["predict"] = "3/min"

    assert statuses(predicted(client) for _ in range(3)) == [200] * 3
    assert_too_many(client.post("/api/predict/", {"image": a_file()}))
    assert not Prediction.objects.exists()
    assert stored_files() == []


def test_after_a_while_requests_are_allowed_again(client, rates):
    rates["read"] = "2/second"

    while client.get(READ).status_code != 429:
        pass
    time.sleep(1.01)
    assert client.get(READ).status_code == 200


def test_the_old_paths_are_counted_with_the_canonical_ones(client, rates):
    rates["predict"] = rates["read"] = "2/min"
    for path in ("/predict", "/api/predict/"):
        assert predicted(client, path).status_code == 200
    for path in (READ, "/api/db/predictions/recent"):
        assert client.get(path).status_code == 200

    assert_too_many(predicted(client, "/predict"))
    assert_too_many(client.post("/batch_predict", {"images": a_file()}))
    assert_too_many(client.get("/api/db/statistics"))
    assert_too_many(client.get("/api/batches/01M84Q580AZZY3CNE3Y34WJ3B2/"))


def test_predicting_and_reading_are_counted_separately(client, rates):
    rates["predict"] = rates["read"] = "1/min"

    assert predicted(client).status_code == 200
    assert client.get(READ).status_code == 200
    assert_too_many(predicted(client))
    assert_too_many(client.get(READ))


def test_monitoring_is_not_counted(client, rates):
    rates["read"] = "1/min"

    assert statuses(client.get("/health/live") for _ in range(3)) == [200] * 3
    assert statuses(client.get("/metrics") for _ in range(3)) == [200] * 3


def test_each_address_is_counted_separately(client, rates):
    rates["read"] = "1/min"
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        assert client.get(READ, REMOTE_ADDR=address).status_code == 200
        assert_too_many(client.get(READ, REMOTE_ADDR=address))


def test_each_token_is_counted_separately_from_addresses(client, rates):
    rates["read"] = "1/min"
    ann, bob = a_user("ann"), a_user("bob")
    for token in (a_token(ann), a_token(ann), a_token(bob)):
        program = a_client(token)
        assert program.get(READ).status_code == 200
        assert_too_many(program.get(READ, REMOTE_ADDR="192.0.2.9"))

    assert client.get(READ).status_code == 200


def test_a_signed_in_user_is_counted_by_name(client, rates):
    rates["read"] = "1/min"
    client.force_login(a_user("ann"))

    assert client.get(READ, REMOTE_ADDR="192.0.2.1").status_code == 200
    assert_too_many(client.get(READ, REMOTE_ADDR="192.0.2.2"))


def test_a_client_cannot_choose_its_address(client, rates):
    rates["read"] = "1/min"

    assert client.get(READ, headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200
    assert_too_many(client.get(READ, headers={"X-Forwarded-For": "192.0.2.2"}))


def test_a_trusted_proxy_gives_the_address(client, rates, settings):
    rates["read"] = "1/min"
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
    for address in ("192.0.2.1", "192.0.2.2"):
        assert client.get(READ, headers={"X-Forwarded-For": address}).status_code == 200

    invented = {"X-Forwarded-For": "198.51.100.7, 192.0.2.1"}
    assert_too_many(client.get(READ, headers=invented))


def test_a_batch_counts_its_images(client, rates):
    rates["predict"] = "5/min"

    assert statuses([batch_predicted(client, 3), batch_predicted(client, 2)]) == [200, 200]
    assert_too_many(predicted(client))
    assert_too_many(batch_predicted(client, 1))


def test_a_verdict_with_a_heatmap_counts_for_two(client, rates):
    rates["predict"] = "3/min"

    explained = client.post("/api/predict/", {"image": a_file(), "explain": "true"})

    assert (explained.status_code, predicted(client).status_code) == (200, 200)
    assert_too_many(predicted(client))


def test_frames_that_were_not_judged_do_not_count(client, rates):
    rates["predict"] = "4/min"
    for data in (None, b"no image", b""):
        client.post("/api/predict/", {"image": a_file(data=data), "frames": "all"})

    assert predicted(client).status_code == 200
    assert_too_many(predicted(client))


@pytest.mark.parametrize(("path", "field"), [("predict", "image"), ("batches", "images")])
def test_each_judged_frame_counts_as_an_image(client, rates, path, field):
    rates["predict"] = "5/min"
    frames = animated("PNG", [noise_image(seed=seed) for seed in range(4)])
    form = {field: a_file("a.png", frames), "store": "false", "frames": "all"}

    assert client.post(f"/api/{path}/", form).status_code == 200
    assert predicted(client).status_code == 200
    assert_too_many(predicted(client))


def test_a_batch_of_more_than_the_rate_has_a_retry_after_too(client, rates):
    rates["predict"] = "3/min"

    assert batch_predicted(client, 8).status_code == 200
    assert_too_many(predicted(client))


def test_a_batch_that_is_refused_counts_as_one_request(client, rates):
    rates["predict"] = "2/min"

    assert statuses(batch_predicted(client, count) for count in (51, 51, 1)) == [400, 400, 429]


def archive_predicted(client, archive: bytes):
    return client.post(BATCHES, {"archive": a_file("a.tar", archive), "async": "true"})


@pytest.mark.usefixtures("no_judging")
def test_an_archive_counts_its_images_and_mebibytes(client, rates):
    rates["predict"] = "6/min"
    files = {"a.jpg": PHOTO, "b.jpg": PHOTO, "c.txt": bytes(2_500_000)}

    assert archive_predicted(client, archive_of("tar.gz", files)).status_code == 202
    assert statuses(predicted(client) for _ in range(3)) == [200, 200, 429]


def test_a_broken_archive_counts_what_was_read_and_leaves_nothing(client, rates, stored_files):
    rates["predict"] = "6/min"
    whole = archive_of("tar", {f"{n}.jpg": PHOTO for n in range(5)})
    broken = archive_predicted(client, whole[: whole.rindex(PHOTO)])

    assert_refused(broken, 400, "invalid_archive")
    assert stored_files() == []
    assert statuses(predicted(client) for _ in range(3)) == [200, 200, 429]


def test_a_file_that_is_no_archive_counts_as_one_request(client, rates):
    rates["predict"] = "2/min"

    assert statuses(archive_predicted(client, b"text") for _ in range(3)) == [400, 400, 429]


@pytest.mark.usefixtures("no_judging")
def test_only_some_archives_are_read_at_a_time(client, stored_files):
    with ExitStack() as others:
        for _ in range(MAX_ARCHIVES):
            form = APIRequestFactory().post("/", {"archive": a_file("a.tar", b"")})
            receive_files(form)
            request = Request(form, [MultiPartParser()])
            request.throttle = PredictThrottle()
            others.enter_context(counted_images_or_archive(request, most=9))
        refused = archive_predicted(client, archive_of("tar", {"a.jpg": PHOTO}))
        assert "Too many archives" in assert_refused(refused, 503, "queue_full")
        assert stored_files() == []

    assert archive_predicted(client, archive_of("tar", {"a.jpg": PHOTO})).status_code == 202


@pytest.mark.usefixtures("shared_cache")
def test_processes_count_together_in_a_shared_cache(client, rates, redis, settings):
    rates["predict"] = "4/min"
    elsewhere = PredictThrottle()
    elsewhere.cache = RedisCache(redis.url, {"OPTIONS": settings.REDIS_OPTIONS})
    assert elsewhere.allow_request(a_request(), None)
    batch_predicted(client, 2)
    elsewhere.count(1)

    assert_too_many(predicted(client))


@pytest.mark.usefixtures("shared_cache")
def test_a_lost_cache_refuses_no_caller(client, rates, redis):
    rates["predict"] = rates["read"] = "1/min"
    redis.kill()
    try:
        start = time.monotonic()
        assert statuses(client.get(READ) for _ in range(3)) == [200] * 3
        assert statuses(batch_predicted(client, 2) for _ in range(2)) == [200] * 2
        assert time.monotonic() - start < LIMIT
    finally:
        redis.start()
    assert statuses(client.get(READ) for _ in range(2)) == [200, 429]


@pytest.mark.usefixtures("shared_cache")
def test_a_hung_cache_refuses_no_caller(client, rates, redis):
    rates["read"] = "1/min"
    client.get(READ)
    redis.hang()
    try:
        start = time.monotonic()
        assert client.get(READ).status_code == 200
        assert time.monotonic() - start < LIMIT
    finally:
        redis.resume()
    assert_too_many(client.get(READ))
