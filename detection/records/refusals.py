"""Count refused images, which leave no record, by day, source and reason."""

from __future__ import annotations

from contextlib import suppress

from django.db import IntegrityError
from django.db.models import F
from django.utils import timezone

from detection import prometheus
from detection.errors import UnavailableError, database_errors
from detection.models import RefusalCount


def count_refusal(*, code: str, source: str) -> None:
    """Count one more image that was refused today. Raises UnavailableError."""
    day = timezone.now().date()
    counter = RefusalCount(id=f"{day}/{source}/{code}", day=day, source=source, code=code)
    with database_errors():
        if _increment(counter):
            return
        with suppress(IntegrityError):  # another process was faster
            counter.save(force_insert=True)
        _increment(counter)


def note_refusal(*, code: str, source: str) -> None:
    """Count it in the metrics too; without a database only there."""
    prometheus.REFUSED_IMAGES.labels(code, source).inc()
    with suppress(UnavailableError):
        count_refusal(code=code, source=source)


def _increment(counter: RefusalCount) -> bool:
    counters = RefusalCount.objects.filter(pk=counter.pk)
    return counters.update(count=F("count") + 1) == 1
