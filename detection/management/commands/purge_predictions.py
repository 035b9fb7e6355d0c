from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from detection.errors import database_errors
from detection.management.arguments import duration
from detection.management.base import ServiceCommand
from detection.models import Prediction, now
from detection.upkeep import purge_predictions


class Command(ServiceCommand):
    help = (
        "Deletes old predictions with their files, reviewed ones too, and images that have been "
        "queued for as long."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            type=duration,
            required=True,
            metavar="T",
            help="delete predictions older than T, for example 90d or 12h",
        )
        parser.add_argument("--dry-run", action="store_true", help="only count the predictions")

    def handle(self, *args: Any, older_than: timedelta, dry_run: bool, **options: Any) -> None:
        before = now() - older_than
        older = f"older than {before:%Y-%m-%d %H:%M} UTC"
        if dry_run:
            with database_errors():
                count = Prediction.objects.filter(created_at__lt=before).count()
            self.stdout.write(f"{count} predictions are {older}; nothing was deleted.")
            return
        removed = sum(purge_predictions(before=before))
        self.stdout.write(f"{removed} predictions {older} and their files were deleted.")
