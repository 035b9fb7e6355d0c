from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from django.conf import settings as django_settings
from django.db import connection
from standardwebhooks import Webhook, WebhookVerificationError

from detection import webhooks
from detection.models import PredictionBatch, Source, now
from detection.unavailable import DatabaseUnavailableError
from detection.webhooks import (
    TRIES,
    WebhookUrlError,
    announcement,
    check_webhook_url,
    deliver_due_webhooks,
    signature,
    webhook_secret,
)
from tests.api import a_user
from tests.settings import MONGO, ON_SERVERS

stateless = pytest.mark.stateless


def announce(batch: PredictionBatch) -> None:
    """As whoever closes a batch does."""
    if changes := announcement(batch):
        PredictionBatch.objects.filter(pk=batch.pk).update(**changes)


class Receiver(ThreadingHTTPServer):
    """A real HTTP server that answers as told, the last way once more where there is no other."""

    def __init__(self, *answers: int | str, certificate: trustme.LeafCert | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers = list(answers)
        self.messages: list[tuple[str, dict[str, str], bytes]] = []
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"

    def __enter__(self) -> Receiver:
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are part of the tests."""

    def url(self, path: str = "/hook?from=d3", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def next_answer(self) -> int | str:
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Answering(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with server.lock:
            server.messages.append((self.path, headers, body))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            self.answer(server.next_answer())
        finally:
            with server.lock:
                server.at_once -= 1

    def do_GET(self) -> None:
        """A redirect that is followed would become one."""
        self.do_POST()

    def answer(self, how: int | str) -> None:
        if how == "drip":
            for byte in b"HTTP/1.1 200 OK\r\n\r\n":
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        elif how == "nonsense":
            self.wfile.write(b"\x00\x01 nothing of HTTP\r\n\r\n")
        elif how == "slow":
            time.sleep(0.3)
            self.answer(200)
        else:
            self.send_response(how)
            if how in (301, 307):
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "1000000000")  # nobody waits for it
            self.end_headers()

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def own_network(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True


def a_batch(url: str = "", **fields) -> PredictionBatch:
    standard = {
        "total_images": 3,
        "successful": 2,
        "failed": 1,
        "source": Source.BATCH,
        "status": "done",
        "finished_at": datetime(2026, 3, 5, 12, 30, tzinfo=UTC),
        "webhook_url": url,
    }
    return PredictionBatch.objects.create(**(standard | fields))


def due_batch(url: str, **fields) -> PredictionBatch:
    batch = a_batch(url, **fields)
    announce(batch)
    return batch


def make_due(batch: PredictionBatch) -> None:
    PredictionBatch.objects.filter(pk=batch.pk).update(webhook_due_at=now())


def resolving(monkeypatch, *turns: str | list[str]) -> None:
    """Host names stand for other addresses, the last ones once more where there are no others."""
    left = list(turns)

    def getaddrinfo(host, port, *args, **kwargs):
        addresses = left.pop(0) if len(left) > 1 else left[0]
        addresses = [addresses] if isinstance(addresses, str) else addresses
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(webhooks.socket, "getaddrinfo", getaddrinfo)


# Secrets and signatures


@pytest.mark.django_db
def test_each_owner_has_a_secret_that_stays():
    alice, bob = (a_batch(owner=a_user(name)) for name in ("alice", "bob"))
    secrets = {webhook_secret(batch) for batch in (alice, bob)}

    assert len(secrets) == 2
    assert webhook_secret(a_batch(owner=alice.owner)) == webhook_secret(alice)
    assert all(re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret) for secret in secrets)


@pytest.mark.django_db
def test_without_an_owner_each_batch_has_a_secret():
    """In open mode, anybody can be told one: that of another batch it must not be."""
    batch, other = a_batch(), a_batch()

    assert webhook_secret(batch) != webhook_secret(other)
    assert webhook_secret(PredictionBatch.objects.get(pk=batch.pk)) == webhook_secret(batch)


@stateless
def test_another_secret_key_makes_another_secret(settings):
    batch = PredictionBatch()
    before = webhook_secret(batch)
    settings.SECRET_KEY = "another one"

    assert webhook_secret(batch) != before


@stateless
def test_a_signature_is_that_of_the_specification():
    made = signature(
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# Delivery


@pytest.mark.django_db
def test_a_message_says_what_became_of_the_batch_and_is_signed(own_network):
    with Receiver(200) as receiver:
        batch = due_batch(receiver.url(), owner=a_user("alice"))

        assert deliver_due_webhooks() == 1
        assert deliver_due_webhooks() == 0

    [(path, headers, body)] = receiver.messages
    assert path == "/hook?from=d3"
    assert headers["host"] == f"127.0.0.1:{receiver.server_port}"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == f"batch_{batch.pk}"
    assert json.loads(body) == {
        "type": "batch.done",
        "timestamp": "2026-03-05T12:30:00Z",
        "data": {
            "batch_id": batch.pk,
            "status": "done",
            "total_images": 3,
            "successful": 2,
            "failed": 1,
            "url": f"/api/batches/{batch.pk}",
        },
    }
    Webhook(webhook_secret(batch)).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(webhook_secret(a_batch())).verify(body, headers)
    batch.refresh_from_db()
    assert batch.webhook_delivered_at
    assert (batch.webhook_tries, batch.webhook_due_at, batch.webhook_error) == (1, None, "")


@pytest.mark.django_db
def test_the_example_of_the_readme_verifies_a_message(own_network):
    readme = (Path(django_settings.BASE_DIR) / "README.md").read_text()
    [example] = re.findall(r"```python\n(import base64.*?)```", readme, re.DOTALL)
    names: dict = {}
    exec(example, names)

    with Receiver(200) as receiver:
        batch = due_batch(receiver.url(), status="failed")
        deliver_due_webhooks()
    secret = webhook_secret(batch)

    [(_, headers, body)] = receiver.messages
    message = names["verified"](secret, headers, body)
    assert (message["type"], message["data"]["batch_id"]) == ("batch.failed", batch.pk)
    for wrong in (
        (secret, headers, body.replace(b"done", b"gone") + b" "),
        (secret, headers | {"webhook-timestamp": str(int(time.time()) - 1000)}, body),
        (webhook_secret(a_batch()), headers, body),
    ):
        with pytest.raises(ValueError, match=r"signature|old"):
            names["verified"](*wrong)


@pytest.mark.django_db
def test_only_what_was_announced_is_sent(own_network):
    with Receiver(200) as receiver:
        a_batch(receiver.url())
        announce(a_batch())

        assert deliver_due_webhooks() == 0
    assert not receiver.messages


@pytest.mark.django_db
def test_what_was_not_taken_is_sent_again_under_the_same_id(own_network):
    with Receiver(500, 200) as receiver:
        batch = due_batch(receiver.url())
        assert deliver_due_webhooks() == 0
        batch.refresh_from_db()
        assert batch.webhook_error == "It answered 500."
        assert batch.webhook_due_at > now() + timedelta(seconds=20)
        assert deliver_due_webhooks() == 0  # it is not due yet
        make_due(batch)

        assert deliver_due_webhooks() == 1

    batch.refresh_from_db()
    assert (batch.webhook_tries, batch.webhook_error) == (2, "")
    first, second = (headers["webhook-id"] for _, headers, _ in receiver.messages)
    assert first == second


@pytest.mark.django_db
@pytest.mark.parametrize("status", [301, 307])
def test_redirects_are_not_followed(own_network, status):
    with Receiver(status, 200) as receiver:
        batch = due_batch(receiver.url())

        assert deliver_due_webhooks() == 0

    assert [path for path, _, _ in receiver.messages] == ["/hook?from=d3"]
    batch.refresh_from_db()
    assert batch.webhook_error == f"It answered {status}."


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["drip", "slow", "nonsense"])
def test_whoever_is_slow_or_speaks_no_http_is_tried_again(own_network, monkeypatch, how):
    monkeypatch.setattr(webhooks, "STEP_SECONDS", 0.2)
    monkeypatch.setattr(webhooks, "SEND_SECONDS", 0.3)
    with Receiver(how) as receiver:
        batch = due_batch(receiver.url())

        assert deliver_due_webhooks() == 0

    batch.refresh_from_db()
    assert batch.webhook_error == "No answer in time, or none that could be understood."
    assert batch.webhook_due_at > now()


@pytest.mark.django_db
def test_nobody_there_is_tried_again(own_network):
    with Receiver(200) as receiver:
        pass
    batch = due_batch(receiver.url())

    assert deliver_due_webhooks() == 0

    batch.refresh_from_db()
    assert (batch.webhook_tries, batch.webhook_delivered_at) == (1, None)
    assert batch.webhook_due_at > now()


@pytest.mark.django_db
def test_whoever_is_gone_is_not_asked_again(own_network):
    with Receiver(410) as receiver:
        batch = due_batch(receiver.url())

        assert deliver_due_webhooks() == 0

    batch.refresh_from_db()
    assert (batch.webhook_due_at, batch.webhook_delivered_at) == (None, None)
    assert batch.webhook_error == "It answered 410 and wants no more."


@pytest.mark.django_db
def test_tries_are_further_and_further_apart_and_end_after_about_a_day(own_network):
    pauses = []
    with Receiver(503) as receiver:
        batch = due_batch(receiver.url())
        for _ in range(TRIES):
            before = now()
            deliver_due_webhooks()
            batch.refresh_from_db()
            if batch.webhook_due_at:
                pauses.append((batch.webhook_due_at - before).total_seconds())
                make_due(batch)

    assert len(receiver.messages) == TRIES == 8
    assert batch.webhook_due_at is None
    assert len(pauses) == TRIES - 1
    assert pauses == sorted(pauses)
    assert 20 < pauses[0] < 60
    assert 15 < sum(pauses) / 3600 < 30


@stateless
def test_pauses_differ_so_that_receivers_get_no_volley():
    assert len({webhooks._pause(1) for _ in range(20)}) > 10


@pytest.mark.django_db
def test_one_slow_receiver_does_not_hold_up_the_others(own_network):
    with Receiver("slow") as receiver:
        for _ in range(5):
            due_batch(receiver.url())

        assert deliver_due_webhooks() == 5

    assert receiver.most_at_once > 1


@pytest.mark.django_db
def test_more_than_are_sent_at_once_are_all_sent(own_network):
    with Receiver(200) as receiver:
        for _ in range(webhooks.AT_ONCE + 3):
            due_batch(receiver.url())

        assert deliver_due_webhooks() == webhooks.AT_ONCE + 3

    assert len(receiver.messages) == webhooks.AT_ONCE + 3


@pytest.mark.django_db
def test_a_call_ends_though_many_are_due_and_the_next_one_goes_on(own_network, monkeypatch):
    monkeypatch.setattr(webhooks, "AT_ONCE", 1)
    with Receiver(200) as receiver:
        for _ in range(webhooks.ROUNDS + 1):
            due_batch(receiver.url())

        assert deliver_due_webhooks() == webhooks.ROUNDS
        assert deliver_due_webhooks() == 1


# Several processes


@pytest.mark.django_db(transaction=True)
def test_of_several_processes_one_sends(own_network):
    def deliver(barrier: threading.Barrier) -> int:
        try:
            barrier.wait()
            return deliver_due_webhooks()
        finally:
            connection.close()

    with Receiver("slow") as receiver, ThreadPoolExecutor(3) as threads:
        batches = [due_batch(receiver.url()) for _ in range(6)]
        barrier = threading.Barrier(3)
        delivered = sum(threads.map(deliver, [barrier] * 3))

    assert delivered == len(receiver.messages) == len(batches)


@pytest.mark.django_db
def test_a_claim_that_nobody_came_back_from_ends(own_network, monkeypatch):
    class KilledError(BaseException):
        pass

    def killed(batch):
        raise KilledError

    with Receiver(200) as receiver:
        batch = due_batch(receiver.url())
        with monkeypatch.context() as patch:
            patch.setattr(webhooks, "_send", killed)
            with pytest.raises(KilledError):
                deliver_due_webhooks()
        assert deliver_due_webhooks() == 0
        batch.refresh_from_db()
        assert now() < batch.webhook_due_at <= now() + webhooks.CLAIM

        make_due(batch)
        assert deliver_due_webhooks() == 1

    batch.refresh_from_db()
    assert batch.webhook_delivered_at


@pytest.mark.django_db
def test_whoever_comes_back_after_their_claim_changes_nothing():
    batch = due_batch("https://hooks.example/")
    [claimed] = webhooks._claim_due(now())
    PredictionBatch.objects.filter(pk=batch.pk).update(webhook_tries=2, webhook_due_at=None)

    webhooks._record(claimed, webhooks.WebhookError("It answered 500."))

    batch.refresh_from_db()
    assert (batch.webhook_error, batch.webhook_due_at) == ("", None)


@contextmanager
def lost_batches() -> Iterator[None]:
    if ON_SERVERS:
        MONGO.kill()
        yield
        MONGO.start()
        return
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE prediction_batches RENAME TO lost_batches")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE lost_batches RENAME TO prediction_batches")


def test_without_a_database_nothing_is_sent_and_nothing_is_lost(transactional_db, own_network):
    with Receiver(200) as receiver:
        due_batch(receiver.url())
        with lost_batches(), pytest.raises(DatabaseUnavailableError):
            deliver_due_webhooks()
        assert not receiver.messages

        assert deliver_due_webhooks() == 1


# Where webhooks go


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


@stateless
@pytest.mark.parametrize("host", [*PRIVATE, *NEVER])
def test_addresses_that_only_we_can_reach_are_refused(host):
    with pytest.raises(WebhookUrlError) as refusal:
        check_webhook_url(f"https://{host}:8443/hook")

    assert refusal.value.code == "invalid_webhook_url"


@stateless
@pytest.mark.parametrize("host", [h for h in PRIVATE if h not in ("[fec0::1]", "127.0.0.1.")])
def test_ones_own_network_can_be_allowed(own_network, host):
    check_webhook_url(f"http://{host}/hook")
    check_webhook_url(f"https://{host}:8443/hook")


@stateless
@pytest.mark.parametrize("host", NEVER)
def test_what_is_no_receiver_is_refused_in_ones_own_network_too(own_network, host):
    with pytest.raises(WebhookUrlError):
        check_webhook_url(f"https://{host}/hook")


@stateless
@pytest.mark.parametrize(
    "host",
    ["93.184.215.14", "[2606:2800:21f::1]", "[64:ff9b::5db8:d70e]", "[2002:5db8:d70e::1]"],
)
def test_public_addresses_are_taken(host):
    check_webhook_url(f"https://{host}/hook")
    check_webhook_url(f"https://{host}:8443/hook?token=a%20b#part")


@stateless
def test_a_name_with_one_private_address_among_others_is_refused(monkeypatch):
    resolving(monkeypatch, ["93.184.215.14", "10.0.0.1"])

    with pytest.raises(WebhookUrlError, match="webhooks are not sent to"):
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
        ("https://nothing.invalid/", "cannot be resolved"),
        ("https://..../", "cannot be resolved"),
    ],
)
def test_what_is_no_address_for_a_webhook_is_refused(url, sentence):
    with pytest.raises(WebhookUrlError, match=sentence):
        check_webhook_url(url)


@pytest.mark.django_db
def test_a_name_that_stands_for_a_private_address_when_it_is_called_is_not_called(monkeypatch):
    with Receiver(200) as receiver:
        url = f"https://hooks.example:{receiver.server_port}/"
        resolving(monkeypatch, "93.184.215.14", "127.0.0.1")
        check_webhook_url(url)
        batch = due_batch(url)

        assert deliver_due_webhooks() == 0

    assert not receiver.messages
    batch.refresh_from_db()
    assert "webhooks are not sent to" in batch.webhook_error


@pytest.mark.django_db
def test_the_connection_goes_to_the_address_that_was_checked(own_network, monkeypatch):
    """A name is resolved once for each try; a second answer would find nobody."""
    with Receiver(200) as receiver:
        batch = due_batch(receiver.url(host="hooks.example"))
        resolving(monkeypatch, "127.0.0.1", "192.0.2.1")
        # Connecting asks for the address of an address.
        monkeypatch.setattr(webhooks.socket, "create_connection", connect_to_numbers)

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


@pytest.mark.django_db
def test_further_addresses_of_a_name_are_tried(own_network, monkeypatch):
    with Receiver(200) as receiver:
        due_batch(receiver.url(host="hooks.example"))
        resolving(monkeypatch, ["127.0.0.9", "127.0.0.1"])
        monkeypatch.setattr(webhooks.socket, "create_connection", connect_to_numbers)

        assert deliver_due_webhooks() == 1


@pytest.mark.django_db
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
    monkeypatch.setattr(webhooks.socket, "create_connection", connect_to_numbers)
    with Receiver(200, certificate=authority.issue_cert(name)) as receiver:
        batch = due_batch(receiver.url(host="hooks.example"))

        assert deliver_due_webhooks() == (not error)

    batch.refresh_from_db()
    assert batch.webhook_error.startswith(error)
    assert bool(batch.webhook_error) == bool(error)
    assert len(receiver.messages) == (not error)
