"""CSV files that are safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

from django.http import HttpResponse

BYTE_ORDER_MARK = "\ufeff"  # by which spreadsheets recognize UTF-8
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


class CsvTable:
    """A table with a header and rows. ``for_programs`` leaves out what only spreadsheets need."""

    def __init__(
        self,
        file: TextIO | HttpResponse,
        columns: Iterable[str],
        *,
        for_programs: bool = False,
    ) -> None:
        if not for_programs:
            file.write(BYTE_ORDER_MARK)
        self._writer = csv.writer(file, lineterminator="\n" if for_programs else "\r\n")
        self._writer.writerow(columns)

    def add(self, values: Iterable[object]) -> None:
        self._writer.writerow(map(_cell, values))


def _cell(value: object) -> object:
    """Return the value as it is written. Text that a spreadsheet would run as a formula is quoted.
    Booleans are ``true`` and ``false``. Times are in UTC, without a zone, since spreadsheets read
    none.
    """
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value
