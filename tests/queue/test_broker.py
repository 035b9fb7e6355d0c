"""Messages to workers: sent, lost, and sent again from the records."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from redis import Redis

from d3site.broker import broker_options
from d3site.celery import app
from detection import tasks
from detection.api.views import health
from detection.judging.predict import Upload
from detection.models import Prediction, PredictionBatch, QueuedImage
from detection.queue import broker, leases
from detection.queue.arrivals import store_images
from detection.queue.batches import queue_batch, send_scan
from detection.queue.broker import BrokerUnavailableError, queued_messages
from detection.queue.judging import predict_queued
from detection.queue.wake_up import requeue
from tests.support.api import a_file, assert_refused
from tests.support.factories import image_bytes
from tests.support.installation import ROOT
from tests.support.queued import uploads
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tiny_checkpoint")]

CURRENT_APP = """
import threading
import django
from celery import current_app

django.setup()
threading.Thread(target=lambda: print(current_app.main)).start()
"""
SOON = 60  # seconds, with a time-out of one: longer than a client waits is too long


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("broker") / "data") as server:
        yield server


@pytest.fixture
def redis(server, settings, monkeypatch):
    """The broker of the service, without messages."""
    settings.CELERY_BROKER_URL = server.url
    app.conf.update(broker_url=server.url, broker_transport_options=broker_options(server.url))
    monkeypatch.setattr(app.amqp, "_producer_pool", None)
    monkeypatch.setattr(app, "_pool", None)
    yield server
    if not server.answers():
        server.start()
    Redis.from_url(server.url).flushall()
    app.conf.update(broker_url="", broker_transport_options={})


def messages() -> int:
    return sum(queued_messages().values())


def work() -> int:
    """Run the messages, as a worker does; return their number."""
    done = 0
    with app.connection_for_read() as connection:
        for name in broker.QUEUES:
            with connection.SimpleQueue(name) as messages:
                while message := _next(messages):
                    arguments, *_ = message.payload
                    assert message.headers["task"] == tasks.judge_images.name
                    tasks.judge_images(*arguments)
                    message.ack()
                    done += 1
    return done


def _next(messages):
    try:
        return messages.get_nowait()
    except messages.Empty:
        return None


def test_a_batch_is_a_few_messages_and_each_has_some_of_its_images(redis):
    batch = queue_batch(uploads=uploads(70), source="batch")

    assert messages() == 3
    assert work() == 3
    batch.refresh_from_db()
    assert (batch.status, batch.successful) == ("done", 70)


def test_a_scan_has_a_queue_of_its_own(redis):
    sent = list(send_scan(images=store_images(uploads(40)), threshold=None))
    queue_batch(uploads=uploads(1), source="batch")

    with app.connection_for_read() as connection:
        counts = [broker._messages(connection, name) for name in broker.QUEUES]
    assert counts == [1, 2]
    assert work() == 3
    assert PredictionBatch.objects.get(pk=sent[-1].pk).successful == 40


def test_with_workers_a_large_request_is_queued_by_itself(client, redis):
    files = [a_file(f"{i}.jpg", image_bytes(size=(16, 12), seed=i)) for i in range(51)]

    response = client.post("/api/batches/", {"images": files})

    assert response.status_code == 202
    assert response.json()["status"] == "queued"
    assert client.post("/api/batches/", {"images": files[:1]}).status_code == 200
    assert_refused(
        client.post("/api/batches/", {"images": files, "store": "false"}), 400, "too_many_images"
    )


def test_messages_lost_by_the_broker_are_sent_again_once(redis):
    batch = queue_batch(uploads=uploads(40), source="batch")
    redis.kill()
    redis.start()
    assert messages() == 0

    requeue()
    requeue()

    assert messages() == 2
    work()
    batch.refresh_from_db()
    assert batch.successful == Prediction.objects.count() == 40


def test_a_long_scan_does_not_prevent_the_sending_again_of_other_batches(redis, monkeypatch):
    list(send_scan(images=store_images(uploads(1)), threshold=None))
    with monkeypatch.context() as patched:
        patched.setattr(broker, "send_wake_ups", lambda **_: None)  # it is lost
        queue_batch(uploads=uploads(1), source="batch")

    requeue()

    assert queued_messages() == dict(zip(broker.QUEUES, [1, 1], strict=True))


def test_images_of_a_killed_worker_are_sent_again_when_the_lease_expires(redis):
    batch = queue_batch(uploads=uploads(3), source="batch")
    leases.Lease.take(batch=batch, first=None, last=None)
    assert work() == 1  # of images that another worker seems to judge
    requeue()
    assert messages() == 0

    QueuedImage.objects.update(leased_until=leases.NEVER_LEASED)
    requeue()

    assert work() == 1
    batch.refresh_from_db()
    assert batch.successful == 3


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_without_a_broker_a_batch_is_accepted_and_queued(client, redis, how):
    app.conf.broker_transport_options["socket_timeout"] = 1
    getattr(redis, how)()
    start = time.monotonic()
    response = client.post("/api/batches/", {"images": [a_file()], "async": "true"})
    seconds = time.monotonic() - start
    redis.start() if how == "kill" else redis.resume()

    assert response.status_code == 202
    assert seconds < SOON
    requeue()
    work()
    assert client.get(response.headers["Location"]).json()["successful"] == 1


@pytest.mark.stateless
def test_every_thread_of_the_service_has_the_celery_app_of_the_project(tmp_path):
    environment = {"DJANGO_SETTINGS_MODULE": "d3site.settings", "DATA_DIR": str(tmp_path)}

    printed = subprocess.check_output(
        [sys.executable, "-c", CURRENT_APP], cwd=ROOT, env=environment, text=True
    )

    assert printed == "d3site\n"


@pytest.mark.stateless
@pytest.mark.parametrize(
    ("queues", "loads"), [(["d3-upkeep"], False), (["d3-batches", "d3-upkeep"], True)]
)
def test_a_worker_for_the_upkeep_alone_loads_no_model(monkeypatch, queues, loads):
    chosen, loaded = app.amqp.queues, []
    monkeypatch.setattr(chosen, "_consume_from", {name: chosen[name] for name in queues})
    monkeypatch.setattr(tasks, "get_detector", lambda: loaded.append("the model"))

    tasks.load_detector()

    assert bool(loaded) == loads


def test_without_a_broker_requeue_says_so(redis):
    queue_batch(uploads=uploads(1), source="batch")
    redis.kill()

    with pytest.raises(BrokerUnavailableError):
        requeue()


def test_health_reports_the_broker(client, redis, monkeypatch):
    monkeypatch.setattr(health, "_last_check", health._LastCheck())
    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    queue_batch(uploads=uploads(1), source="batch")
    part = client.get("/health").json()["queue"]
    assert (part["ok"], part["mode"], part["waiting"]) == (True, "workers", 1)

    redis.kill()

    response = client.get("/health")
    assert response.status_code == 503
    assert response.json()["error"] == "Not available: queue."


def test_requeue_closes_a_batch_that_a_killed_worker_left_open(redis):
    batch = queue_batch(uploads=[*uploads(1), Upload("x.jpg", b"no image")], source="batch")
    [image] = QueuedImage.objects.filter(code="")
    list(predict_queued(batch=batch, images=[image]))
    image.delete()

    requeue()

    batch.refresh_from_db()
    assert (batch.status, batch.successful, batch.failed) == ("done", 1, 1)
    assert not QueuedImage.objects.exists()


def test_requeue_deletes_refused_images_that_a_kill_left(redis):
    batch = queue_batch(uploads=[Upload("x.jpg", b"no image")], source="batch")
    batch.refresh_from_db()
    assert batch.status == "done"
    QueuedImage.objects.create(batch=batch, batch_index=0, filename="x.jpg", code="empty_image")

    requeue()

    assert not QueuedImage.objects.exists()
