from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from detection.judging.predict import predict_images
from detection.models import RefusalCount
from detection.records.refusals import count_refusal
from tests.support.api import a_file, assert_refused
from tests.support.factories import an_upload
from tests.support.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def counts() -> dict[tuple[str, str], int]:
    return {(each.source, each.code): each.count for each in RefusalCount.objects.all()}


def test_refused_images_are_counted_by_source_and_reason():
    uploads = [an_upload(data=data) for data in (b"", b"", b"only some words, no picture")]

    for source in ("batch", "scan"):
        assert all(outcome.error for outcome in predict_images(uploads=uploads, source=source))

    assert counts() == {
        (source, code): number
        for source in ("batch", "scan")
        for code, number in (("empty_image", 2), ("unsupported_image_type", 1))
    }
    assert RefusalCount.objects.first().day == timezone.now().date()


def test_each_day_has_its_own_count(monkeypatch):
    count_refusal(code="empty_image", source="api")
    yesterday = timezone.now() - timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: yesterday)

    count_refusal(code="empty_image", source="api")

    assert [each.count for each in RefusalCount.objects.all()] == [1, 1]


def test_refusals_with_store_false_are_not_counted():
    outcomes = predict_images(uploads=[an_upload(data=b"")], source="scan", store=False)

    assert [bool(outcome.error) for outcome in outcomes] == [True]
    assert counts() == {}


@pytest.mark.django_db(transaction=True)
def test_no_refusal_is_lost_when_many_are_counted_at_once():
    def count(times: int) -> None:
        for _ in range(times):
            count_refusal(code="empty_image", source="api")

    at_once(count, [5] * 6)

    assert counts() == {("api", "empty_image"): 30}


def test_a_refusal_is_answered_even_when_it_cannot_be_counted(lost_database, client):
    response = client.post("/api/predict/", {"image": a_file(data=b"")})

    assert_refused(response, 400, "empty_image")
