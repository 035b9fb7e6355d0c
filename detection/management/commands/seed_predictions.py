from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from detection.management.arguments import positive_int
from detection.management.base import ServiceCommand
from detection.models import now
from detection.workbench.seeding import has_real_records, remove_seeded, seed_predictions


class Command(ServiceCommand):
    help = (
        "Stores made-up predictions of the last year, to try the project with many records; never "
        "for a database in use. The predictions share two small files under seeded/, so a deletion "
        "of one deletes the files of all: delete all with --remove."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--count",
            type=positive_int,
            default=1000,
            metavar="N",
            help="store N predictions; default: 1000",
        )
        parser.add_argument(
            "--seed",
            type=int,
            default=0,
            metavar="S",
            help="the same seed gives the same records; default: 0",
        )
        parser.add_argument(
            "--among-others", action="store_true", help="store them beside real predictions too"
        )
        parser.add_argument("--remove", action="store_true", help="delete all made-up predictions")

    def handle(
        self, *args: Any, count: int, seed: int, among_others: bool, remove: bool, **options: Any
    ) -> None:
        if remove:
            self.stdout.write(f"{sum(remove_seeded())} predictions were deleted.")
            return
        if not among_others and has_real_records():
            raise CommandError(
                "There are real predictions here; nothing was stored. --among-others stores the "
                "made-up ones beside them."
            )
        stored = sum(seed_predictions(count=count, until=now(), seed=seed))
        self.stdout.write(f"{stored} predictions were stored.")
