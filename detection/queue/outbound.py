"""A POST to a URL that a client chose, which cannot be turned against this machine's own network.

The addresses of the host name are checked when the URL is given and again for each POST, and the
connection goes to the very address that was checked: a name may have another address by then.
"""

from __future__ import annotations

import http.client
import logging
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Timer
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from detection.errors import ServiceError

logger = logging.getLogger(__name__)

MAX_ADDRESSES = 3  # of one name that are tried
STEP_SECONDS = 5.0  # for a connection, and for each read of an answer
SEND_SECONDS = 10.0  # for everything after the connection, however slowly it drips

PRINTABLE = re.compile(r"[\x21-\x7e]+")
GLOBAL_IPV6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class WebhookUrlError(ServiceError):
    """No webhook is sent to this URL."""

    code = "invalid_webhook_url"


class DeliveryError(ServiceError):
    """The receiver did not accept the message."""


def check_url(url: str) -> None:
    """Raises WebhookUrlError for a URL to which ``post`` would send nothing."""
    parts = _parsed(url)
    _checked_addresses(parts.hostname, _port(parts))


def post(url: str, *, body: bytes, headers: dict[str, str]) -> int:
    """Return the status of the answer; the rest of it is not read, and redirects are not followed.

    Raises WebhookUrlError and DeliveryError.
    """
    parts = _parsed(url)
    addresses = _checked_addresses(parts.hostname, _port(parts))
    try:
        with closing(_connected(addresses, _port(parts))) as plain, _deadline(plain):
            return _post(parts, plain, body, headers)
    except ssl.SSLCertVerificationError as error:
        sentence = f"The certificate is not valid: {error.verify_message[:100]}"
        raise DeliveryError(sentence) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        logger.info("POST to %s: %r", parts.hostname, error)
        raise DeliveryError("The receiver sent no valid answer in time.") from error


def _parsed(url: str) -> SplitResult:
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
    """Return the present addresses of the name. Raises WebhookUrlError if one is forbidden."""
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
        address.is_link_local  # among them the services that give cloud machines their keys
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
    """Return the IPv4 address that a packet to this IPv6 address ends at."""
    if address.version == 4:
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _connected(addresses: list[str], port: int) -> socket.socket:
    """Connect to the first address that accepts."""
    *others, last = addresses[:MAX_ADDRESSES]
    for address in others:
        with suppress(OSError):
            return socket.create_connection((address, port), timeout=STEP_SECONDS)
    return socket.create_connection((last, port), timeout=STEP_SECONDS)


@contextmanager
def _deadline(connection: socket.socket) -> Iterator[None]:
    """Shut the connection down after SEND_SECONDS: a time-out begins anew with each byte.

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
