"""Types of command arguments; argparse turns their errors into one sentence."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import timedelta

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def duration(text: str) -> timedelta:
    """A whole number and its unit: 30m, 12h, 90d or 4w."""
    match = re.fullmatch(r"(\d{1,4})([mhdw])", text, re.ASCII)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not a duration like 30m, 12h, 90d or 4w")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
