"""Fields that the serializers share."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta

from django.utils.dateparse import parse_date
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from detection.models import RECORD_ID


class ScoreField(serializers.FloatField):
    """A score from 0 to 1, shown with six decimals: the same bytes give the same digits."""

    def __init__(self, **options) -> None:
        super().__init__(min_value=0, max_value=1, **options)

    def to_internal_value(self, data) -> float:
        value = super().to_internal_value(data)
        if not math.isfinite(value):
            self.fail("invalid")
        return value

    def to_representation(self, value: float) -> float:
        return round(super().to_representation(value), 6)


class RecordIdField(serializers.RegexField):
    """A ULID."""

    def __init__(self, **options) -> None:
        message = {"invalid": "This is not the id of a record (26 characters)."}
        super().__init__(f"^{RECORD_ID}$", error_messages=message, **options)


class TextOrNullField(serializers.CharField):
    """A text of a record; null in place of an empty text."""

    def __init__(self, **options) -> None:
        super().__init__(read_only=True, allow_null=True, **options)

    def to_representation(self, value: str) -> str | None:
        return value or None


class FlagField(serializers.BooleanField):
    """``true`` or ``false``, in upper or lower case. Other words are errors."""

    TRUE_VALUES = {"true"}
    FALSE_VALUES = {"false"}


@extend_schema_field(
    {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
)
class MomentField(serializers.DateTimeField):
    """A date, or a date with time (ISO 8601, UTC by default).

    A date alone means its first moment; with ``end_of_day``, the first moment of the next day.
    """

    default_error_messages = {"invalid": "Send a date like 2026-11-22 or 2026-11-22T12:00:00Z."}

    def __init__(self, *, end_of_day: bool = False, **options) -> None:
        self._days = timedelta(days=1 if end_of_day else 0)
        super().__init__(**options)

    def to_internal_value(self, value) -> datetime:
        try:
            if date := parse_date(value):
                return datetime.combine(date, time.min, UTC) + self._days
        except (ValueError, OverflowError):
            self.fail("invalid")
        return super().to_internal_value(value)
