"""The days that statistics are of, in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

from detection.errors import ServiceError

DAY = timedelta(days=1)
DEFAULT_DAYS = 30
MAX_DAYS = 366


class PeriodError(ServiceError):
    """The days cannot be shown."""


@dataclass(frozen=True, slots=True)
class Period:
    """The days from ``first`` to ``last``, both included."""

    first: date
    last: date

    @classmethod
    def between(cls, first: date | None, last: date | None) -> Period:
        """Return the period. Without a last day it ends today, without a first day it has 30 days.

        Raises PeriodError.
        """
        last = last or timezone.now().date()
        try:
            first = first or last - timedelta(days=DEFAULT_DAYS - 1)
        except OverflowError:
            raise PeriodError("There is no such day.") from None
        if first > last:
            raise PeriodError("The first day is after the last one.")
        if (last - first).days >= MAX_DAYS:
            raise PeriodError(f"Ask for at most {MAX_DAYS} days.")
        if last == date.max:  # no day follows it
            raise PeriodError("There is no such day.")
        return cls(first, last)

    @classmethod
    def latest(cls, days: int) -> Period:
        """Return the last ``days`` days, today included."""
        today = timezone.now().date()
        return cls(today - timedelta(days=days - 1), today)

    @property
    def days(self) -> list[date]:
        count = (self.last - self.first).days + 1
        return [self.first + number * DAY for number in range(count)]

    @property
    def start(self) -> datetime:
        return datetime.combine(self.first, time.min, UTC)

    @property
    def end(self) -> datetime:
        """Return the first moment after the period."""
        return datetime.combine(self.last, time.min, UTC) + timedelta(days=1)
