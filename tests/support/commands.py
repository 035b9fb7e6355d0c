"""Management commands, run in this process."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

import pytest
from django.core.management import CommandError, call_command


class Failure(NamedTuple):
    sentence: str
    code: int
    printed: str


def printed_by(command: str, *arguments: object, **options: object) -> str:
    """Run a command; return what it printed, errors too."""
    printed = io.StringIO()
    call_command(command, *map(str, arguments), stdout=printed, stderr=printed, **options)
    return printed.getvalue()


def failure_of(command: str, *arguments: object, **options: object) -> Failure:
    """Run a command that fails; return its sentence, its exit code and what it had printed."""
    printed = io.StringIO()
    with pytest.raises(CommandError) as failed:
        call_command(command, *map(str, arguments), stdout=printed, stderr=printed, **options)
    return Failure(str(failed.value), failed.value.returncode, printed.getvalue())


def rows_of(report: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with report.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
