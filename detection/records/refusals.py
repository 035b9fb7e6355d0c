"""Count refused images, which leave no record, by day, source and reason."""

from __future__ import annotations

from contextlib import suppress

from django.db.models import F
from django.utils import timezone

from detection import prometheus
from detection.errors import UnavailableError, database_errors
from detection.models import RefusalCount


def count_refusal(*, code: str, source: str) -> None:
    """Count one more image that was refused today. Raises UnavailableError."""
    day = timezone.now().date()
    key = f"{day}/{source}/{code}"
    with database_errors():
        RefusalCount.objects.get_or_create(
            id=key, defaults={"day": day, "source": source, "code": code}
        )
        RefusalCount.objects.filter(pk=key).update(count=F("count") + 1)


def note_refusal(*, code: str, source: str) -> None:
    """Count a refused image in the metrics, and in the database unless that is down."""
    prometheus.REFUSED_IMAGES.labels(code, source).inc()
    with suppress(UnavailableError):
        count_refusal(code=code, source=source)
