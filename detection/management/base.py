"""The base of the commands, which turns every error into one sentence and an exit code."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from detection.d3.errors import D3Error
from detection.errors import ServiceError, UnavailableError
from detection.records import check_tables

SOME_LOST = 2  # exit code: the work is done, except for some images
INTERRUPTED = 130  # exit code: 128 and the number of Ctrl-C's signal, as in shells


class ServiceCommand(BaseCommand):
    """A command that turns its errors and Ctrl-C into a CommandError.

    A command that uses the database sets Django's ``requires_migrations_checks``.
    ``interrupted`` is the sentence after Ctrl-C. ``names_cause`` adds the cause to the sentence
    about an outage.
    """

    interrupted = "Interrupted."
    names_cause = False

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except (D3Error, ServiceError) as error:
            raise CommandError(self._sentence(error)) from error
        except KeyboardInterrupt:
            raise CommandError(self.interrupted, returncode=INTERRUPTED) from None

    def check_migrations(self) -> None:
        """Raise an error where tables are missing; Django only prints a notice."""
        check_tables()

    def progress_bar(self, *items: Any, **options: Any) -> tqdm:
        """Return tqdm's bar with these arguments. It is shown only in a terminal."""
        return tqdm(*items, disable=not self.stderr.isatty(), **options)

    def _sentence(self, error: Exception) -> str:
        if not (self.names_cause and isinstance(error, UnavailableError) and error.__cause__):
            return str(error)
        cause = str(error.__cause__).partition("\n")[0]
        return f"{str(error).rstrip('.')}: {cause}."
