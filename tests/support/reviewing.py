"""Moderators at the review screen, and what it shows them."""

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
    """The page after a decision on the record as it is now, or was at an older ``revision``."""
    if revision is None:
        revision = stored(prediction).review_revision
    return client.post(
        url(prediction), {"decision": decision, "revision": revision, **fields}, follow=True
    )


def text(response) -> str:
    """The words of the page, without tags."""
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
    """The id of the record that the page shows, after its redirects."""
    return response.request["PATH_INFO"].removeprefix(NEXT).rstrip("/")
