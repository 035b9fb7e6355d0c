"""Cells of CSV files, safe to open in a spreadsheet."""

from __future__ import annotations

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


def cell(value: object) -> object:
    """Quote text that a spreadsheet would run as a formula. Booleans are ``true`` and ``false``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value
