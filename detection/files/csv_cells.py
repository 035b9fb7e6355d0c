"""Cells of CSV files, safe to open in a spreadsheet."""

from __future__ import annotations

from datetime import UTC, datetime

BYTE_ORDER_MARK = "\ufeff"  # tells spreadsheets that the file is UTF-8
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


def cell(value: object) -> object:
    """Quote text that a spreadsheet would run as a formula. Booleans are ``true`` and ``false``,
    times are in UTC, without a zone, as a spreadsheet reads them.
    """
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value
