"""Webhooks go to the public address that was checked, and never to a private one."""

from __future__ import annotations

import socket

import pytest
import trustme

from detection.queue.webhooks import WebhookUrlError, check_webhook_url, deliver_due_webhooks
from tests.support.receiver import Receiver, due_batch

pytestmark = pytest.mark.django_db
stateless = pytest.mark.stateless

PRIVATE = [
    *("127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1"),
    *("[::1]", "[fd00::1]", "[fc00::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]"),
    *("[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[2002:7f00:1::]"),
    *("[2002:a00:1::1]", "[fec0::1]", "2130706433", "0x7f000001", "0x7f.1", "017700000001"),
    *("0177.0.0.1", "127.1", "10.1", "localhost", "LOCALHOST", "127.0.0.1."),
]
NEVER = [
    *("0.0.0.0", "0", "169.254.169.254", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("[::]", "[fe80::1]", "[fe80::1%25lo]", "[ff02::1]", "[::ffff:169.254.169.254]"),
    *("[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "0xa9fea9fe", "[::127.0.0.1]"),
]


def resolving(monkeypatch, *turns: str | list[str]) -> None:
    """Let host names resolve to these addresses, one item per try, the last one again and again."""
    left = list(turns)

    def getaddrinfo(host, port, *args, **kwargs):
        addresses = left.pop(0) if len(left) > 1 else left[0]
        addresses = [addresses] if isinstance(addresses, str) else addresses
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@stateless
@pytest.mark.parametrize("host", [*PRIVATE, *NEVER])
def test_addresses_that_only_we_can_reach_are_refused(host):
    with pytest.raises(WebhookUrlError) as refusal:
        check_webhook_url(f"https://{host}:8443/hook")

    assert refusal.value.code == "invalid_webhook_url"


@stateless
@pytest.mark.parametrize("host", [h for h in PRIVATE if h not in ("[fec0::1]", "127.0.0.1.")])
def test_private_networks_can_be_allowed(own_network, host):
    for address in (f"http://{host}", f"http://{host}:8080", f"https://{host}:5"):  # any port
        check_webhook_url(f"{address}/hook")


@stateless
@pytest.mark.parametrize("host", NEVER)
def test_addresses_without_a_receiver_are_refused_in_private_networks_too(own_network, host):
    with pytest.raises(WebhookUrlError):
        check_webhook_url(f"https://{host}/hook")


@stateless
@pytest.mark.parametrize(
    "host", ["93.184.215.14", "[2606:2800:21f::1]", "[64:ff9b::5db8:d70e]", "[2002:5db8:d70e::1]"]
)
def test_public_addresses_are_accepted(host):
    check_webhook_url(f"https://{host}/hook")
    check_webhook_url(f"https://{host}:8443/hook?token=a%20b#part")


@stateless
def test_a_name_with_one_private_address_among_others_is_refused(monkeypatch):
    resolving(monkeypatch, ["93.184.215.14", "10.0.0.1"])

    with pytest.raises(WebhookUrlError, match="leads to no public address"):
        check_webhook_url("https://hooks.example/")


@stateless
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "characters"),
        ("hook", "must begin with https"),
        ("//93.184.215.14/", "must begin with https"),
        ("https://", "must begin with https"),
        ("https:///hook", "must begin with https"),
        ("https://93.184.215.14:0/", "must begin with https"),
        ("http://93.184.215.14/", "must begin with https"),
        ("ftp://93.184.215.14/", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        ("https://93.184.215.14:22/", "must have the port 443 or 8443"),
        ("https://93.184.215.14:80/", "must have the port 443 or 8443"),
        ("https://93.184.215.14:6379/", "must have the port 443 or 8443"),
        ("https://93.184.215.14:70000/", "is no URL"),
        ("https://93.184.215.14:port/", "is no URL"),
        ("https://[93.184/", "is no URL"),
        ("https://user@93.184.215.14/", "no user name"),
        ("https://user:password@93.184.215.14/", "no user name"),
        ("https://:@93.184.215.14/", "no user name"),
        ("https://93.184.215.14/a b", "characters"),
        ("https://93.184.215.14/\r\nHost: x", "characters"),
        ("https://93.184.215.14\\@10.0.0.1/", "characters"),
        ("https://bücher.example/", "characters"),
        ("https://93.184.215.14/" + "a" * 2000, "more than 2000 characters"),
        ("https://nothing.invalid/", "leads to no public address"),
        ("https://..../", "leads to no public address"),
    ],
)
def test_an_invalid_webhook_url_is_refused(url, sentence):
    with pytest.raises(WebhookUrlError, match=sentence):
        check_webhook_url(url)


def test_a_name_that_stands_for_a_private_address_when_it_is_called_is_not_called(monkeypatch):
    called = []
    monkeypatch.setattr(socket, "create_connection", lambda *call, **how: called.append(call))
    resolving(monkeypatch, "93.184.215.14", "127.0.0.1")
    check_webhook_url("https://hooks.example/")
    batch = due_batch("https://hooks.example/")

    assert deliver_due_webhooks() == 0

    assert called == []
    batch.refresh_from_db()
    assert "leads to no public address" in batch.webhook_error


def test_the_connection_goes_to_the_address_that_was_checked(own_network, monkeypatch):
    """Resolve a name once for each try, since a second look-up may give another address."""
    with Receiver(200) as receiver:
        batch = due_batch(receiver.url(host="hooks.example"))
        resolving(monkeypatch, "127.0.0.1", "192.0.2.1")
        # Connecting looks the address itself up.
        monkeypatch.setattr(socket, "create_connection", connect_to_numbers)

        assert deliver_due_webhooks() == 1

    [(_, headers, _)] = receiver.messages
    assert headers["host"] == f"hooks.example:{receiver.server_port}"
    batch.refresh_from_db()
    assert batch.webhook_tries == 1


def connect_to_numbers(address: tuple[str, int], timeout: float) -> socket.socket:
    connected = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connected.settimeout(timeout)
    connected.connect(address)
    return connected


def test_further_addresses_of_a_name_are_tried(own_network, monkeypatch):
    with Receiver(200) as receiver:
        due_batch(receiver.url(host="hooks.example"))
        resolving(monkeypatch, ["127.0.0.9", "127.0.0.1"])
        monkeypatch.setattr(socket, "create_connection", connect_to_numbers)

        assert deliver_due_webhooks() == 1


@pytest.mark.parametrize(
    ("name", "trusted", "error"),
    [
        ("hooks.example", True, ""),
        ("other.example", True, "The certificate is not valid: Hostname mismatch"),
        ("hooks.example", False, "The certificate is not valid: unable to get local issuer"),
    ],
)
def test_the_certificate_must_be_for_the_host_name(
    own_network, monkeypatch, tmp_path, name, trusted, error
):
    authority = trustme.CA()
    if trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    resolving(monkeypatch, "127.0.0.1")
    monkeypatch.setattr(socket, "create_connection", connect_to_numbers)
    with Receiver(200, certificate=authority.issue_cert(name)) as receiver:
        batch = due_batch(receiver.url(host="hooks.example"))

        assert deliver_due_webhooks() == (not error)

    batch.refresh_from_db()
    assert batch.webhook_error.startswith(error)
    assert bool(batch.webhook_error) == bool(error)
    assert len(receiver.messages) == (not error)
