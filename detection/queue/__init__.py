"""Batches whose images are judged later, by workers."""

from detection.queue.arrivals import BatchClosedError, store_images
from detection.queue.batches import append_to_batch, queue_batch, send_scan
from detection.queue.closing import count_queued_images, count_unfinished_batches, refresh_counts
from detection.queue.copies import copy_image
from detection.queue.judging import judge_batch
from detection.queue.quota import QueueQuotaError
from detection.queue.wake_up import finish_batches, requeue, resume_batches
from detection.queue.webhooks import deliver_due_webhooks, webhook_secret
