"""Management commands, run in this process."""

from __future__ import annotations

import io

from django.core.management import call_command


def printed_by(command: str, *arguments: object, **options: object) -> str:
    """Run a command; return what it printed on standard output."""
    printed = io.StringIO()
    call_command(command, *map(str, arguments), stdout=printed, **options)
    return printed.getvalue()
