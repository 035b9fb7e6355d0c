"""Send webhooks: a signed POST says that a batch is done, see https://www.standardwebhooks.com.

The records of the batches say which webhooks are due, so that a kill loses none. Several processes
may deliver webhooks. Each claims a batch before it sends; the claim of a killed process ends, and
then the receiver may get the same message twice, with the same id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import time
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from http import HTTPStatus

from django.conf import settings
from django.urls import reverse
from django.utils.crypto import salted_hmac

from detection.errors import ServiceError, database_errors
from detection.models import EPOCH, MAX_URL_LENGTH, PredictionBatch, now
from detection.outbound import CertificateError, NoAnswerError, UrlError, check_url, exchange

logger = logging.getLogger(__name__)

TRIES = 8
FIRST_PAUSE = timedelta(seconds=30)  # after the first try that failed
PAUSE_GROWTH = 3.5  # times that each pause is longer than the one before: 21 hours in all
JITTER = 0.2  # share of a pause by which it varies, so that webhooks are not sent in bursts
CLAIM = timedelta(minutes=5)  # longer than any try
SEND_SECONDS = 10.0  # for one try
AT_ONCE = 8  # webhooks that are sent at a time, so that a slow receiver does not delay the others
ROUNDS = 4  # of AT_ONCE webhooks in one call, which thus ends even if all receivers are slow


class WebhookUrlError(ServiceError):
    """No webhook is sent to this URL."""

    code = "invalid_webhook_url"


class DeliveryError(ServiceError):
    """The receiver did not accept the message."""


class GoneError(DeliveryError):
    """The receiver wants no further message."""


def check_webhook_url(url: str) -> None:
    """Check that webhooks may be sent to this URL. Raises WebhookUrlError."""
    if len(url) > MAX_URL_LENGTH:
        raise WebhookUrlError(f"The webhook URL has more than {MAX_URL_LENGTH} characters.")
    try:
        check_url(url, allow_private=settings.WEBHOOK_ALLOW_PRIVATE)
    except UrlError as error:
        raise WebhookUrlError(f"The webhook URL {error}") from error


def webhook_secret(batch: PredictionBatch) -> str:
    """Return the key that signs the webhook of the batch: one for all batches of an owner, or for
    one batch without an owner.

    It depends on SECRET_KEY.
    """
    value = str(batch.owner_id) if batch.owner_id else f"batch/{batch.pk}"
    key = salted_hmac("detection.webhooks", value, algorithm="sha256").digest()
    return f"whsec_{b64encode(key).decode()}"


def signature(*, secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header ``webhook-signature``."""
    key = b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def webhook_fields(batch: PredictionBatch) -> dict[str, datetime]:
    """Return the fields that make the webhook due. They are written together with the end of the
    batch, so that no kill can fall between the two.
    """
    return {"webhook_due_at": now()} if batch.webhook_url else {}


def next_webhook_at() -> datetime | None:
    """Return when the next webhook is due, if there is any. Raises UnavailableError."""
    with database_errors():
        due = PredictionBatch.objects.filter(webhook_due_at__gt=EPOCH).order_by("webhook_due_at")
        return due.values_list("webhook_due_at", flat=True).first()


def deliver_due_webhooks() -> int:
    """Send the webhooks that are due; return how many were delivered. Webhooks beyond ROUNDS stay
    due.

    Raises UnavailableError; webhooks that were claimed are then sent later.
    """
    delivered, moment = 0, now()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for _ in range(ROUNDS):
            if not (batches := _claim_due(moment)):
                break
            for batch, problem in zip(batches, threads.map(_try_to_send, batches), strict=True):
                _record(batch, problem)
                delivered += problem is None
    return delivered


def _claim_due(moment: datetime) -> list[PredictionBatch]:
    with database_errors():
        due = PredictionBatch.objects.filter(webhook_due_at__lte=moment)
        return [batch for batch in due.order_by("webhook_due_at")[:AT_ONCE] if _claim(batch)]


def _claim(batch: PredictionBatch) -> bool:
    """Claim the webhook of a batch with one command to the database. Return False if another
    process has claimed it.
    """
    seen = PredictionBatch.objects.filter(pk=batch.pk, webhook_tries=batch.webhook_tries)
    batch.webhook_tries += 1
    return bool(seen.update(webhook_tries=batch.webhook_tries, webhook_due_at=now() + CLAIM))


def _record(batch: PredictionBatch, problem: Exception | None) -> None:
    changes = {"webhook_due_at": None, "webhook_error": str(problem or "")}
    if problem is None:
        changes["webhook_delivered_at"] = now()
    elif batch.webhook_tries < TRIES and not isinstance(problem, GoneError):
        changes["webhook_due_at"] = now() + _pause(batch.webhook_tries)
    logger.info(
        "Webhook of batch %s, try %s: %s", batch.pk, batch.webhook_tries, problem or "Delivered."
    )
    with database_errors():
        ours = PredictionBatch.objects.filter(pk=batch.pk, webhook_tries=batch.webhook_tries)
        ours.update(**changes)


def _pause(tries: int) -> timedelta:
    return FIRST_PAUSE * PAUSE_GROWTH ** (tries - 1) * random.uniform(1 - JITTER, 1 + JITTER)


def _try_to_send(batch: PredictionBatch) -> DeliveryError | WebhookUrlError | None:
    """Return why the webhook was not delivered. Runs in a thread without a database connection."""
    try:
        status = _post(batch)
    except (DeliveryError, WebhookUrlError) as error:
        return error
    if status == HTTPStatus.GONE:
        return GoneError("The receiver answered 410: it wants no further webhook.")
    return None if 200 <= status < 300 else DeliveryError(f"The receiver answered {status}.")


def _post(batch: PredictionBatch) -> int:
    """Send the webhook. Return the status of the answer, whose body is not read."""
    body = _body(batch)
    try:
        with exchange(
            "POST",
            batch.webhook_url,
            body=body,
            headers=_headers(batch, body),
            until=time.monotonic() + SEND_SECONDS,
            allow_private=settings.WEBHOOK_ALLOW_PRIVATE,
        ) as response:
            return response.status
    except UrlError as error:
        raise WebhookUrlError(f"The webhook URL {error}") from error
    except CertificateError as error:
        raise DeliveryError(f"The certificate is not valid: {error}") from error
    except NoAnswerError as error:
        raise DeliveryError("The receiver sent no valid answer in time.") from error


def _body(batch: PredictionBatch) -> bytes:
    finished_at = batch.finished_at or now()
    message = {
        "type": f"batch.{batch.status}",
        "timestamp": finished_at.isoformat().replace("+00:00", "Z"),
        "data": {
            "batch_id": batch.pk,
            "status": batch.status,
            "total_images": batch.total_images,
            "successful": batch.successful,
            "failed": batch.failed,
            "url": reverse("batch-detail", args=[batch.pk]),
        },
    }
    return json.dumps(message).encode()


def _headers(batch: PredictionBatch, body: bytes) -> dict[str, str]:
    message_id, timestamp = f"batch_{batch.pk}", int(time.time())
    return {
        "Content-Type": "application/json",
        "User-Agent": "d3-detection",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(
            secret=webhook_secret(batch),
            message_id=message_id,
            timestamp=timestamp,
            body=body,
        ),
    }
