"""Batches whose images stay queued until a test judges them."""

from __future__ import annotations

from detection.judging.predict import Upload
from detection.models import PredictionBatch
from detection.queue.batches import queue_batch
from detection.queue.judging import judge_batch
from tests.support.factories import image_bytes


def uploads(count: int) -> list[Upload]:
    data = [image_bytes(size=(16, 12), seed=seed) for seed in range(count)]
    return [Upload(f"{index}.jpg", each) for index, each in enumerate(data)]


def a_batch(count: int = 3, *, more: bool = False, bad: bool = False) -> PredictionBatch:
    sent = [*uploads(count), *([Upload("notes.jpg", b"no picture")] if bad else [])]
    return queue_batch(uploads=sent, source="batch", more=more)


def judged(batch: PredictionBatch) -> PredictionBatch:
    judge_batch(batch_id=batch.pk)
    return PredictionBatch.objects.get(pk=batch.pk)
