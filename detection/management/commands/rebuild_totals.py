from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from detection.management.arguments import day
from detection.management.base import ServiceCommand
from detection.models import EPOCH
from detection.statistics import Period
from detection.upkeep import Recount, rebuild_totals


class Command(ServiceCommand):
    help = (
        "Counts the predictions again and corrects the totals of the statistics and the dashboard. "
        "The service may run meanwhile; totals that change during the count stay as they are. Exit "
        "code: 0 when all totals are right, 1 otherwise."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from",
            type=day,
            dest="first",
            metavar="DAY",
            help="only from this day in UTC, like 2026-11-22",
        )
        parser.add_argument(
            "--to", type=day, dest="last", metavar="DAY", help="only up to this day"
        )
        parser.add_argument("--check", action="store_true", help="compare, and correct nothing")

    def handle(
        self, *args: Any, first: date | None, last: date | None, check: bool, **options: Any
    ) -> None:
        recount = rebuild_totals(period=_period(first, last), correct=not check)
        for row in recount.wrong:
            self.stdout.write(f"{row}: {'wrong' if check else 'corrected'}")
        for row in recount.busy:
            self.stdout.write(f"{row}: differs, but changes at the moment")
        self._conclude(recount, check=check)

    def _conclude(self, recount: Recount, *, check: bool) -> None:
        if recount.busy or (check and recount.wrong):
            number = len(recount.busy) + (check and len(recount.wrong))
            remedy = "run it without --check" if check else "run it again later"
            raise CommandError(f"{number} totals are not right; {remedy}.")
        corrected = f"; {len(recount.wrong)} totals were corrected" if recount.wrong else ""
        self.stdout.write(f"{recount.days} days counted{corrected}. All totals are right.")


def _period(first: date | None, last: date | None) -> Period | None:
    if first is None and last is None:
        return None
    period = Period(first or EPOCH.date(), last or timezone.now().date())
    if period.first > period.last:
        raise CommandError("The first day is after the last one.")
    return period
