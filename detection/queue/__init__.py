"""Batches whose images are judged later, by workers."""

from detection.queue.arrivals import BatchClosedError, store_images
from detection.queue.batches import (
    append_to_batch,
    finish_batches,
    queue_batch,
    resume_batches,
    send_scan,
    waiting_batches,
)
from detection.queue.closing import count_waiting, refresh_counts
from detection.queue.copies import copy_image
from detection.queue.leases import has_waiting
from detection.queue.webhooks import deliver_due_webhooks, webhook_secret

__all__ = [
    "BatchClosedError",
    "append_to_batch",
    "copy_image",
    "count_waiting",
    "deliver_due_webhooks",
    "finish_batches",
    "has_waiting",
    "queue_batch",
    "refresh_counts",
    "resume_batches",
    "send_scan",
    "store_images",
    "waiting_batches",
    "webhook_secret",
]
