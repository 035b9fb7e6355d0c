"""Ids of records, the moments in ids, and the columns that hold ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone
from ulid import ULID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

RECORD_ID = "[0-7][0-9A-HJKMNP-TV-Z]{25}"  # a pattern: Crockford's base 32, 128 bits
MILLISECOND = timedelta(milliseconds=1)
TIME_BITS, RANDOM_BITS = 48, 80  # of a ULID


def new_id(moment: datetime | None = None) -> str:
    """Return a ULID: 26 characters that sort by time and are safe in URLs and file names."""
    return str(ULID.from_timestamp((moment - EPOCH) // MILLISECOND) if moment else ULID())


def moment_of(record_id: str) -> datetime:
    """Return the time in a ULID, in whole milliseconds."""
    return EPOCH + ULID.from_str(record_id).milliseconds * MILLISECOND


def first_id(moment: datetime) -> str:
    """Return the lowest id of that moment: earlier ids sort before it, all others do not."""
    milliseconds = -((EPOCH - moment) // MILLISECOND)  # rounded up
    bounded = min(max(milliseconds, 0), 2**TIME_BITS - 1)
    return str(ULID.from_int(bounded << RANDOM_BITS))


def now() -> datetime:
    """Return this moment in whole milliseconds: MongoDB stores no more."""
    moment = timezone.now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def primary_key(max_length: int, **options: object) -> models.CharField:
    """Return a field for a primary key, in the column ``_id`` as in every MongoDB collection."""
    return models.CharField(
        primary_key=True, db_column="_id", max_length=max_length, editable=False, **options
    )


def user_key(related_name: str, **options: object) -> models.ForeignKey:
    """Return a field for a user, which is emptied when the user is deleted."""
    return models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name=related_name,
        **options,
    )
