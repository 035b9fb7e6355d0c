"""What the workers do, and what is done by the clock: each task calls one function."""

from __future__ import annotations

import sys
from datetime import timedelta

from celery.signals import worker_process_init, worker_ready
from django.conf import settings

from d3site.celery import app
from detection.d3.errors import D3Error
from detection.errors import UnavailableError
from detection.judging import get_detector
from detection.models import now
from detection.queue import batches, broker, deliver_due_webhooks, leases
from detection.statistics import Period
from detection.upkeep import purge_predictions, recounting

RECOUNTED_DAYS = 7


@app.task(
    name="detection.judge_images",
    autoretry_for=(UnavailableError,),
    retry_backoff=5,
    retry_backoff_max=60,
    max_retries=3,  # after that, the images wait for requeue
)
def judge_images(batch_id: str, first: int, last: int) -> None:
    leases.judge_images(batch_id=batch_id, first=first, last=last)


@app.task(name="detection.upkeep.requeue")
def requeue() -> None:
    batches.requeue()


@app.task(name="detection.upkeep.deliver_webhooks")
def deliver_webhooks() -> None:
    deliver_due_webhooks()


@app.task(name="detection.upkeep.rebuild_totals")
def rebuild_totals() -> None:
    """What a process that was killed did not count: it wrote predictions of the last days."""
    recounting.rebuild_totals(period=Period.latest(RECOUNTED_DAYS))


@app.task(name="detection.upkeep.rebuild_all_totals")
def rebuild_all_totals() -> None:
    """It may have deleted or reviewed older ones."""
    recounting.rebuild_totals()


@app.task(name="detection.upkeep.purge")
def purge() -> None:
    for _ in purge_predictions(before=now() - timedelta(days=settings.PURGE_AFTER_DAYS)):
        pass


@worker_process_init.connect
def load_detector(**signal: object) -> None:
    """In the process that will use it: CUDA must not be touched before a fork. Whoever does the
    upkeep alone needs none.
    """
    if app.amqp.queues.consume_from.keys().isdisjoint(broker.QUEUES):
        return
    try:
        get_detector()
    except D3Error as error:
        sys.exit(str(error))


@worker_ready.connect
def load_detector_without_processes(sender, **signal: object) -> None:
    """With threads there are no processes to load it in."""
    if "thread" in type(sender.pool).__module__:
        load_detector()
