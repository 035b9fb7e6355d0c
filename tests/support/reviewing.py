"""Clients of the review screen, and readers of its pages."""

from __future__ import annotations

import re
from html import unescape

from django.contrib.auth.models import User
from django.test import Client

from detection.models import Prediction

NEXT = "/admin/review/"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(prediction: Prediction) -> str:
    return f"/admin/review/{prediction.pk}/"


def decided(
    client: Client, prediction: Prediction, decision: str, *, revision: int | None = None, **fields
):
    """Send a decision on the stored record, or on an older ``revision``; return the next page."""
    if revision is None:
        revision = stored(prediction).review_revision
    return client.post(
        url(prediction), {"decision": decision, "revision": revision, **fields}, follow=True
    )


def text(response) -> str:
    """Return the words of the page, without tags."""
    body = re.sub(r"<(svg|style|script).*?</\1>", "", response.content.decode(), flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def alerts(response) -> list[str]:
    return [
        unescape(sentence)
        for sentence in re.findall(r'role="alert">(.*?)</p>', response.content.decode())
    ]


def stored(prediction: Prediction) -> Prediction:
    return Prediction.objects.get(pk=prediction.pk)


def shown(response) -> str:
    """Return the id of the record that the page shows, after redirects."""
    return response.request["PATH_INFO"].removeprefix(NEXT).rstrip("/")
