from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError
from django.utils import timezone

from detection.models import AccessToken
from tests.support.api import a_client
from tests.support.commands import printed_by

pytestmark = pytest.mark.django_db


def create(*arguments: str) -> str:
    return printed_by("create_token", *arguments).strip()


@pytest.fixture
def ann():
    return get_user_model().objects.create_user("ann")


def test_the_printed_token_works_and_is_stored_as_a_hash_only(ann, closed):

    text = create("ann", "--name", "newsroom")

    assert a_client(text).get("/api/statistics/").status_code == 200
    token = AccessToken.objects.get()
    assert (token.user, token.name) == (ann, "newsroom")
    assert text not in (token.digest, token.token_key)
    assert token.token_key == text[: len(token.token_key)]


def test_it_works_for_the_given_days(ann):
    create("ann", "--days", "30")

    left = AccessToken.objects.get().expiry - timezone.now()
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


def test_missing_and_inactive_users_get_no_token(ann):
    ann.is_active = False
    ann.save()

    for name in ("ann", "bob"):
        with pytest.raises(CommandError, match=f"There is no active user '{name}'"):
            create(name)
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize("days", ["0", "3651", "many"])
def test_invalid_days_are_refused(ann, days):
    with pytest.raises(CommandError):
        create("ann", "--days", days)
