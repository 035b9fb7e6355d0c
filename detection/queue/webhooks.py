"""The signed POST to whoever sent a batch, when it is done: https://www.standardwebhooks.com.

The address comes from a client, so it could be one that only this machine can reach. What its host
name stands for is checked when it is given and again with each try, and the connection goes to the
very address that was checked: a name may stand for another one a moment later.

What is still to be sent is in the records of the batches, so that no process that ends loses it.
Several processes may deliver. Each claims a batch before it sends; a claim that nobody came back
from ends by itself, and then the receiver may get the same message twice, with the same id.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import random
import re
import socket
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Timer
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.urls import reverse
from django.utils.crypto import salted_hmac

from detection.errors import ServiceError, database_errors
from detection.models import PredictionBatch, now

logger = logging.getLogger(__name__)

MAX_ADDRESSES = 3  # of one name that are tried
TRIES = 8
FIRST_PAUSE = timedelta(seconds=30)  # after the first try that failed
PAUSE_GROWTH = 3.5  # each further one is so much longer: 21 hours in all
JITTER = 0.2  # of a pause, more or less: receivers that were down get no volley
STEP_SECONDS = 5.0  # for a connection, and for each wait for an answer
SEND_SECONDS = 10.0  # for everything after the connection, however slowly it drips
CLAIM = timedelta(minutes=5)  # longer than any try
AT_ONCE = 8  # receivers that are called together: a slow one does not hold up the others
ROUNDS = 4  # of them in one call, which so ends though all of them are slow
GONE = 410

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRINTABLE = re.compile(r"[\x21-\x7e]+")
GLOBAL_IPV6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class WebhookUrlError(ServiceError):
    """No webhook is sent to this address."""

    code = "invalid_webhook_url"


class WebhookError(ServiceError):
    """The receiver did not accept the webhook."""


class GoneError(WebhookError):
    """The receiver wants no more of them."""


def webhook_secret(batch: PredictionBatch) -> str:
    """What the webhook of the batch is signed with: the same for all batches of an owner, and
    nobody else's. A batch without an owner has one of its own.

    Another SECRET_KEY makes another one.
    """
    value = str(batch.owner_id) if batch.owner_id else f"batch/{batch.pk}"
    key = salted_hmac("detection.webhooks", value, algorithm="sha256").digest()
    return f"whsec_{b64encode(key).decode()}"


def signature(*, secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header ``webhook-signature``."""
    key = b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def check_webhook_url(url: str) -> None:
    """Raises WebhookUrlError for an address that no webhook will be sent to."""
    parts = _parsed(url)
    _checked_addresses(parts.hostname, _port(parts))


def announcement(batch: PredictionBatch) -> dict[str, datetime]:
    """What changes in the record of a batch together with its end, so that no kill can come
    between: its webhook becomes due.
    """
    return {"webhook_due_at": now()} if batch.webhook_url else {}


def next_webhook_at() -> datetime | None:
    """When the next one is due, if there is any. Raises UnavailableError."""
    with database_errors():
        due = PredictionBatch.objects.filter(webhook_due_at__gt=EPOCH).order_by("webhook_due_at")
        return due.values_list("webhook_due_at", flat=True).first()


def deliver_due_webhooks() -> int:
    """Sends webhooks that are due now; returns how many were delivered. Those beyond ROUNDS stay
    due.

    Raises UnavailableError; what was claimed until then is tried again.
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


# Which are due


def _claim_due(moment: datetime) -> list[PredictionBatch]:
    with database_errors():
        due = PredictionBatch.objects.filter(webhook_due_at__lte=moment)
        return [batch for batch in due.order_by("webhook_due_at")[:AT_ONCE] if _claim(batch)]


def _claim(batch: PredictionBatch) -> bool:
    """One command for the database: of several processes, one changes the record."""
    seen = PredictionBatch.objects.filter(pk=batch.pk, webhook_tries=batch.webhook_tries)
    batch.webhook_tries += 1
    return bool(seen.update(webhook_tries=batch.webhook_tries, webhook_due_at=now() + CLAIM))


def _record(batch: PredictionBatch, problem: WebhookError | None) -> None:
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


# Where to


def _parsed(url: str) -> SplitResult:
    most = PredictionBatch._meta.get_field("webhook_url").max_length
    if len(url) > most:
        raise WebhookUrlError(f"The webhook URL has more than {most} characters.")
    if not PRINTABLE.fullmatch(url) or "\\" in url:
        raise WebhookUrlError("The webhook URL has characters that a URL cannot have.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise WebhookUrlError("The webhook URL is no URL.") from error
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise WebhookUrlError("The webhook URL must begin with https:// and a host name.")
    if parts.scheme == "http" and not settings.WEBHOOK_ALLOW_PRIVATE:
        raise WebhookUrlError("The webhook URL must begin with https://.")
    if parts.username is not None or parts.password is not None:
        raise WebhookUrlError("The webhook URL must have no user name and no password.")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _checked_addresses(host: str, port: int) -> list[str]:
    """Each address that the name stands for now. Raises WebhookUrlError for a forbidden one."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookUrlError("The host name of the webhook URL cannot be resolved.") from error
    addresses = [info[4][0] for info in found]
    if not addresses or not all(_may_be_called(ip_address(address)) for address in addresses):
        raise WebhookUrlError("The webhook URL leads to an address that webhooks are not sent to.")
    return addresses


def _may_be_called(address: Address) -> bool:
    address = _embedded(address) or address
    if address.is_loopback:
        return settings.WEBHOOK_ALLOW_PRIVATE
    if (
        address.is_link_local  # among them what tells cloud machines their keys
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    ):
        return False
    return settings.WEBHOOK_ALLOW_PRIVATE or _is_public(address)


def _is_public(address: Address) -> bool:
    is_assigned = address.version == 4 or address in GLOBAL_IPV6
    return is_assigned and address.is_global


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this one ends at."""
    if address.version == 4:
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


# Sending


def _try_to_send(batch: PredictionBatch) -> WebhookError | None:
    """None when it was delivered. In a thread of its own, which asks the database nothing."""
    try:
        _send(batch)
    except WebhookError as error:
        return error
    except WebhookUrlError as error:
        return WebhookError(str(error))
    except ssl.SSLCertVerificationError as error:
        return WebhookError(f"The certificate is not valid: {error.verify_message[:100]}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        logger.info("Webhook of batch %s: %r", batch.pk, error)
        return WebhookError("No answer in time, or none that could be understood.")
    return None


def _send(batch: PredictionBatch) -> None:
    parts = _parsed(batch.webhook_url)
    addresses = _checked_addresses(parts.hostname, _port(parts))
    body = _body(batch)
    with closing(_connected(addresses, _port(parts))) as plain, _deadline(plain):
        status = _post(parts, plain, body, _headers(batch, body))
    if status == GONE:
        raise GoneError("It answered 410 and wants no more.")
    if not 200 <= status < 300:
        raise WebhookError(f"It answered {status}.")


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


def _connected(addresses: list[str], port: int) -> socket.socket:
    """To the first address that takes it."""
    *others, last = addresses[:MAX_ADDRESSES]
    for address in others:
        with suppress(OSError):
            return socket.create_connection((address, port), timeout=STEP_SECONDS)
    return socket.create_connection((last, port), timeout=STEP_SECONDS)


@contextmanager
def _deadline(connection: socket.socket) -> Iterator[None]:
    """A time-out begins anew with each byte. After this one whoever waits reads the end.

    The connection gets a second handle, since TLS takes the first one over.
    """
    with closing(connection.dup()) as handle:
        timer = Timer(SEND_SECONDS, _shut_down, [handle])
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        connection.shutdown(socket.SHUT_RDWR)


def _post(parts: SplitResult, plain: socket.socket, body: bytes, headers: dict[str, str]) -> int:
    """The status of the answer; nothing else of it is read, and no redirect is followed."""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        client = http.client.HTTPSConnection(parts.hostname, _port(parts), context=context)
        client.sock = context.wrap_socket(plain, server_hostname=parts.hostname)
    else:
        client = http.client.HTTPConnection(parts.hostname, _port(parts))
        client.sock = plain
    target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    with closing(client):
        client.request("POST", target, body, headers)
        return client.getresponse().status
