"""Send messages that wake the workers. A lost message delays images, and loses none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celery import current_app
from django.conf import settings
from kombu import Connection
from kombu.exceptions import OperationalError

from detection.errors import UnavailableError
from detection.models import PredictionBatch, Source
from detection.queue.leases import CHUNK

QUEUES = ("d3-batches", "d3-scans")
PING_SECONDS = 3


class BrokerUnavailableError(UnavailableError):
    """The broker cannot be reached."""


def is_configured() -> bool:
    """Return whether there is a broker. Without one, the process that received the images judges
    them.
    """
    return bool(settings.CELERY_BROKER_URL)


def send_wake_ups(*, batch: PredictionBatch, places: range | list[int]) -> None:
    """Send a message for each CHUNK of images of the batch. Raises BrokerUnavailableError."""
    queue = queue_of(batch)
    try:
        with current_app.producer_or_acquire() as producer:
            for start in range(0, len(places), CHUNK):
                chunk = places[start : start + CHUNK]
                current_app.send_task(
                    "detection.judge_images",
                    args=[batch.pk, chunk[0], chunk[-1]],
                    queue=queue,
                    producer=producer,
                )
    except OperationalError as error:
        raise BrokerUnavailableError("The queue cannot be reached.") from error


def queue_of(batch: PredictionBatch) -> str:
    """Return the batch's queue. Scans have one of their own, so that a long scan delays no other
    batch.
    """
    batches, scans = QUEUES
    return scans if batch.source == Source.SCAN else batches


def queued_messages() -> dict[str, int]:
    """Return the number of messages that no worker has taken, by queue.

    Raises BrokerUnavailableError.
    """
    with _connected() as connection:
        return {name: _messages(connection, name) for name in QUEUES}


def ping() -> None:
    """Check that the broker answers. Raises BrokerUnavailableError."""
    with _connected() as connection:
        _messages(connection, QUEUES[0])


@contextmanager
def _connected() -> Iterator[Connection]:
    """Open a new connection: the pool may hold dead ones."""
    connection = current_app.connection_for_read()
    try:
        with connection:
            connection.ensure_connection(max_retries=0, timeout=PING_SECONDS)
            yield connection
    except (OperationalError, *connection.connection_errors) as error:
        raise BrokerUnavailableError("The queue cannot be reached.") from error


def _messages(connection: Connection, name: str) -> int:
    with connection.channel() as channel:
        try:
            return channel.queue_declare(queue=name, passive=True).message_count
        except connection.channel_errors:  # the queue is empty, or was never used
            return 0
