"""The tasks of Celery's workers, some of which ``celery beat`` starts. Each calls one function."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta

from celery import current_app, shared_task
from celery.signals import worker_process_init, worker_ready
from django.conf import settings

from detection import queue
from detection.d3.errors import D3Error
from detection.errors import UnavailableError
from detection.judging import get_detector
from detection.models import now
from detection.queue import broker
from detection.statistics import Period
from detection.upkeep import purge_predictions, recounting

logger = logging.getLogger(__name__)

RECOUNTED_DAYS = 7


@shared_task(
    name="detection.judge_images",
    autoretry_for=(UnavailableError,),
    retry_backoff=5,
    retry_backoff_max=60,
    max_retries=3,  # after that, requeue sends a new message
)
def judge_images(batch_id: str, first: int, last: int) -> None:
    queue.judge_batch(batch_id=batch_id, first=first, last=last)


requeue = shared_task(name="detection.upkeep.requeue")(queue.requeue)
deliver_webhooks = shared_task(name="detection.upkeep.deliver_webhooks")(queue.deliver_due_webhooks)


@shared_task(name="detection.upkeep.rebuild_totals")
def rebuild_totals() -> None:
    """Count the predictions of the last days again: a killed process may have missed some."""
    recounting.rebuild_totals(period=Period.latest(RECOUNTED_DAYS))


@shared_task(name="detection.upkeep.rebuild_all_totals")
def rebuild_all_totals() -> None:
    """Count all predictions again: a killed process may have deleted or reviewed old ones."""
    recounting.rebuild_totals()


@shared_task(name="detection.upkeep.purge")
def purge() -> None:
    """Delete old predictions, unless this worker's setting says never: beat may have another."""
    days = settings.PURGE_AFTER_DAYS
    if days <= 0:
        logger.warning("PURGE_AFTER_DAYS is %s on this worker: nothing is deleted.", days)
        return
    for _ in purge_predictions(before=now() - timedelta(days=days)):
        pass


@worker_process_init.connect
def load_detector(**signal: object) -> None:
    """Load the detector in the process that uses it: CUDA must not be used before a fork. A worker
    for the upkeep alone needs no detector.
    """
    if current_app.amqp.queues.consume_from.keys().isdisjoint(broker.QUEUES):
        return
    try:
        get_detector()
    except D3Error as error:
        sys.exit(str(error))


@worker_ready.connect
def load_detector_without_processes(sender, **signal: object) -> None:
    """Load the detector in this process if its pool has threads: no other process starts."""
    if "thread" in type(sender.pool).__module__:
        load_detector()
