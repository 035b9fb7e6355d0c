"""Inspect the originals of old records, from before the service read the origin of files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet

from detection.errors import database_errors
from detection.judging import inspect_upload, origin_fields
from detection.models import Prediction
from detection.records import OriginalLostError, read_original, totals

AT_ONCE = 200  # records that are read together


@dataclass(frozen=True, slots=True)
class Inspected:
    """A record, and what its file declares or a sentence why it cannot be read."""

    prediction: Prediction
    declares: str = ""
    problem: str = ""


def inspect_records() -> Iterator[Inspected]:
    """Inspect the originals of all records that were never inspected, oldest first.

    Raises UnavailableError; what was read until then is stored.
    """
    last = ""
    while records := _uninspected_after(last):
        for record in records:
            yield _inspect(record)
        last = records[-1].pk


def count_uninspected() -> int:
    with database_errors():
        return _uninspected().count()


def _uninspected() -> QuerySet[Prediction]:
    return Prediction.objects.filter(provenance={})


def _uninspected_after(last: str) -> list[Prediction]:
    with database_errors():
        return list(_uninspected().filter(pk__gt=last).order_by("pk")[:AT_ONCE])


def _inspect(record: Prediction) -> Inspected:
    try:
        found = inspect_upload(read_original(record))
    except OriginalLostError as error:
        return Inspected(record, problem=str(error))
    fields = origin_fields(found, record.label)
    with database_errors(), transaction.atomic():
        if Prediction.objects.filter(pk=record.pk, provenance={}).update(**fields):
            rows = totals.rows_of(record, totals.USAGE)
            totals.add_to_existing(rows, totals.declared_share(fields["declares"]))
    return Inspected(record, declares=fields["declares"])
