"""Decide which URLs may be called, and which addresses of their hosts.

``allow_private`` is for development, and for receivers in your own network: it also allows private
addresses, http, and every port.
"""

from __future__ import annotations

import logging
import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from detection.outbound.resolving import resolve

logger = logging.getLogger(__name__)

PORTS = (443, 8443)
PRINTABLE = re.compile(r"[\x21-\x7e]+")
GLOBAL_IPV6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class UrlError(Exception):
    """No request is sent to this URL. ``str(error)`` completes a sentence that begins with what the
    URL is for: "The webhook URL".
    """


class UnreachableError(UrlError):
    """A private address, a name without an address, or a host that accepts no connection. All three
    have the same sentence, so that callers learn nothing about this machine's network.
    """

    def __init__(self) -> None:
        super().__init__("leads to no public address that answers.")


def parse_url(url: str, *, allow_private: bool) -> SplitResult:
    """Return the parts of a URL that may be called. Raises UrlError."""
    if not PRINTABLE.fullmatch(url) or "\\" in url:
        raise UrlError("has characters that a URL cannot have.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlError("is no URL.") from error
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise UrlError("must begin with https:// and a host name.")
    if parts.username is not None or parts.password is not None:
        raise UrlError("must have no user name and no password.")
    if allow_private:
        return parts
    if parts.scheme == "http":
        raise UrlError("must begin with https://.")
    if port_of(parts) not in PORTS:
        raise UrlError(f"must have the port {PORTS[0]} or {PORTS[1]}.")
    return parts


def port_of(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def find_addresses(parts: SplitResult, *, until: float, allow_private: bool) -> list[str]:
    """Return the present addresses of the host. ``until`` is a moment of ``time.monotonic()``.

    Raises UnreachableError if there is none in time, or if one of them is forbidden.
    """
    host = parts.hostname
    try:
        addresses = resolve(host, port_of(parts), until=until)
    except (OSError, UnicodeError) as error:
        logger.info("%s has no address: %r", host, error)
        raise UnreachableError from error
    forbidden = [
        each
        for each in addresses
        if not _may_be_called(ip_address(each), allow_private=allow_private)
    ]
    if forbidden or not addresses:
        logger.info("%s has addresses that are not called: %s", host, forbidden)
        raise UnreachableError
    return addresses


def _may_be_called(address: Address, *, allow_private: bool) -> bool:
    address = _embedded(address) or address
    if address.is_loopback:
        return allow_private
    if (
        address.is_link_local  # cloud machines get their keys from such addresses
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    ):
        return False
    return allow_private or _is_public(address)


def _is_public(address: Address) -> bool:
    is_assigned = address.version == 4 or address in GLOBAL_IPV6
    return is_assigned and address.is_global


def _embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address at which packets to this IPv6 address arrive, or None."""
    if address.version == 4:
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
