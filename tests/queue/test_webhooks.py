"""Webhooks: their messages, signatures, and tries."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from detection.errors import DatabaseUnavailableError
from detection.models import PredictionBatch, now
from detection.outbound import connection as outbound_connection
from detection.queue import webhooks
from detection.queue.webhooks import (
    TRIES,
    DeliveryError,
    deliver_due_webhooks,
    signature,
    webhook_secret,
)
from tests.support.api import a_user
from tests.support.documents import DOCUMENTS, code_blocks
from tests.support.failures import raising
from tests.support.outages import lost_records
from tests.support.receiver import Receiver, a_batch, announce, due_batch
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
stateless = pytest.mark.stateless


def make_due(batch: PredictionBatch) -> None:
    PredictionBatch.objects.filter(pk=batch.pk).update(webhook_due_at=now())


# Secrets and signatures


def test_each_owner_has_a_lasting_secret():
    alice, bob = (a_batch(owner=a_user(name)) for name in ("alice", "bob"))
    secrets = {webhook_secret(batch) for batch in (alice, bob)}

    assert len(secrets) == 2
    assert webhook_secret(a_batch(owner=alice.owner)) == webhook_secret(alice)
    assert all(re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret) for secret in secrets)


def test_without_an_owner_each_batch_has_a_secret():
    """With open access any caller can read a batch's secret: it must not fit another batch."""
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


def test_a_message_has_the_result_of_the_batch_and_a_signature(own_network):
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


def test_the_documented_example_verifies_a_message(own_network):
    [example] = code_blocks(DOCUMENTS["docs/batches.md"], "python")
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


def test_only_announced_messages_are_sent(own_network):
    with Receiver(200) as receiver:
        a_batch(receiver.url())
        announce(a_batch())

        assert deliver_due_webhooks() == 0
    assert not receiver.messages


def test_a_refused_message_is_sent_again_under_the_same_id(own_network):
    with Receiver(500, 200) as receiver:
        batch = due_batch(receiver.url())
        assert deliver_due_webhooks() == 0
        batch.refresh_from_db()
        assert batch.webhook_error == "The receiver answered 500."
        assert batch.webhook_due_at > now() + timedelta(seconds=20)
        assert deliver_due_webhooks() == 0  # it is not due yet
        make_due(batch)

        assert deliver_due_webhooks() == 1

    batch.refresh_from_db()
    assert (batch.webhook_tries, batch.webhook_error) == (2, "")
    first, second = (headers["webhook-id"] for _, headers, _ in receiver.messages)
    assert first == second


INVALID = "The receiver sent no valid answer in time."
REFUSED = {
    "a redirect": (301, "The receiver answered 301."),
    "another redirect": (307, "The receiver answered 307."),
    "byte by byte": ("drip", INVALID),
    "late": ("slow", INVALID),
    "no HTTP": ("nonsense", INVALID),
    "gone": (410, "The receiver answered 410: it wants no further webhook."),
}


@pytest.mark.parametrize(("answer", "error"), REFUSED.values(), ids=REFUSED)
def test_a_refused_message_is_sent_again_unless_the_receiver_is_gone(
    own_network, monkeypatch, answer, error
):
    monkeypatch.setattr(outbound_connection, "STEP_SECONDS", 0.2)
    monkeypatch.setattr(webhooks, "SEND_SECONDS", 0.3)
    with Receiver(answer, 200) as receiver:
        batch = due_batch(receiver.url())

        assert deliver_due_webhooks() == 0

    assert [path for path, _, _ in receiver.messages] == ["/hook?from=d3"]  # no redirect
    batch.refresh_from_db()
    assert (batch.webhook_error, batch.webhook_delivered_at) == (error, None)
    assert batch.webhook_due_at is None if answer == 410 else batch.webhook_due_at > now()


def test_a_missing_receiver_is_tried_again(own_network):
    with Receiver(200) as receiver:
        pass
    batch = due_batch(receiver.url())

    assert deliver_due_webhooks() == 0

    batch.refresh_from_db()
    assert (batch.webhook_tries, batch.webhook_delivered_at) == (1, None)
    assert batch.webhook_due_at > now()


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
def test_pauses_vary_so_that_messages_do_not_arrive_together():
    assert len({webhooks._pause(1) for _ in range(20)}) > 10


def test_one_slow_receiver_does_not_delay_the_others(own_network):
    with Receiver("slow") as receiver:
        for _ in range(5):
            due_batch(receiver.url())

        assert deliver_due_webhooks() == 5

    assert receiver.most_at_once > 1


def test_more_messages_than_are_sent_at_once_are_all_sent(own_network):
    with Receiver(200) as receiver:
        for _ in range(webhooks.AT_ONCE + 3):
            due_batch(receiver.url())

        assert deliver_due_webhooks() == webhooks.AT_ONCE + 3

    assert len(receiver.messages) == webhooks.AT_ONCE + 3


def test_a_call_ends_though_many_messages_are_due_and_the_next_one_continues(
    own_network, monkeypatch
):
    monkeypatch.setattr(webhooks, "AT_ONCE", 1)
    with Receiver(200) as receiver:
        for _ in range(webhooks.ROUNDS + 1):
            due_batch(receiver.url())

        assert deliver_due_webhooks() == webhooks.ROUNDS
        assert deliver_due_webhooks() == 1


# Several processes


@pytest.mark.django_db(transaction=True)
def test_one_of_several_processes_sends_the_message(own_network):
    with Receiver("slow") as receiver:
        batches = [due_batch(receiver.url()) for _ in range(6)]
        delivered = sum(at_once(lambda _: deliver_due_webhooks(), range(3)))

    assert delivered == len(receiver.messages) == len(batches)


def test_the_claim_of_a_killed_process_ends(own_network, monkeypatch):
    class KilledError(BaseException):
        pass

    with Receiver(200) as receiver:
        batch = due_batch(receiver.url())
        with monkeypatch.context() as patch:
            patch.setattr(webhooks, "_post", raising(KilledError))
            with pytest.raises(KilledError):
                deliver_due_webhooks()
        assert deliver_due_webhooks() == 0
        batch.refresh_from_db()
        assert now() < batch.webhook_due_at <= now() + webhooks.CLAIM

        make_due(batch)
        assert deliver_due_webhooks() == 1

    batch.refresh_from_db()
    assert batch.webhook_delivered_at


def test_a_process_whose_claim_has_ended_changes_nothing():
    batch = due_batch("https://hooks.example/")
    [claimed] = webhooks._claim_due(now())
    PredictionBatch.objects.filter(pk=batch.pk).update(webhook_tries=2, webhook_due_at=None)

    webhooks._record(claimed, DeliveryError("The receiver answered 500."))

    batch.refresh_from_db()
    assert (batch.webhook_error, batch.webhook_due_at) == ("", None)


def test_without_a_database_nothing_is_sent_and_nothing_is_lost(transactional_db, own_network):
    with Receiver(200) as receiver:
        due_batch(receiver.url())
        with lost_records("prediction_batches"), pytest.raises(DatabaseUnavailableError):
            deliver_due_webhooks()
        assert not receiver.messages

        assert deliver_due_webhooks() == 1
