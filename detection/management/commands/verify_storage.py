from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from detection.d3.errors import ImageError
from detection.management.arguments import duration
from detection.management.base import ServiceCommand
from detection.upkeep import find_discrepancies, is_storage_plausible


class Command(ServiceCommand):
    help = (
        "Finds records without files and files without records. --repair deletes files without a "
        "record, draws a lost result image again from the original, and deletes a record that lost "
        "both. Exit code: 0 when nothing is wrong or all was repaired, 1 otherwise."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="repair every discrepancy")
        parser.add_argument(
            "--min-age",
            type=duration,
            default=timedelta(hours=1),
            metavar="T",
            help="ignore younger files, whose record may follow; default: 1h",
        )

    def handle(self, *args: Any, repair: bool, min_age: timedelta, **options: Any) -> None:
        found = left = 0
        if repair and not is_storage_plausible():
            raise CommandError(
                "There are only records, or only files: a setting seems to name the wrong "
                "database, bucket or folder. Nothing was repaired."
            )
        for discrepancy in find_discrepancies(min_age=min_age):
            found += 1
            self.stdout.write(str(discrepancy))
            if repair:
                try:
                    self.stdout.write(f"  {discrepancy.repair()}")
                except ImageError as error:
                    left += 1
                    self.stdout.write(f"  {error}")
        if not found:
            self.stdout.write("Every record has its files, and every file its record.")
        elif left:
            raise CommandError(f"{left} of {found} discrepancies cannot be repaired; see above.")
        elif repair:
            self.stdout.write(f"{found} discrepancies were found; see above for the repairs.")
        else:
            raise CommandError(f"{found} discrepancies were found; --repair repairs them.")
