"""Arguments that commands share, and their types. Django prints an ArgumentTypeError's sentence."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from math import inf, nan
from pathlib import Path

from django.core.management.base import CommandParser

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_dataset(parser: CommandParser) -> None:
    """Add the arguments for the images of a measurement."""
    parser.add_argument(
        "dataset",
        type=Path,
        help="a folder with {train,val,test}/SOURCE/{0_real,1_fake}, the source being optional",
    )
    parser.add_argument("--split", default="test", help="the split to measure; default: test")


def add_trust(parser: CommandParser) -> None:
    parser.add_argument(
        "--trust-torchscript",
        action="store_true",
        help="open a TorchScript archive that OpenAI did not publish; such an archive is a program",
    )


def positive_int(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def positive_float(text: str) -> float:
    """Return a finite number above 0."""
    return _number(text, "a number above 0", lambda value: 0 < value < inf)


def duration(text: str) -> timedelta:
    """Read a whole number and its unit: 30m, 12h, 90d or 4w."""
    match = re.fullmatch(r"(\d{1,4})([mhdw])", text, re.ASCII)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not a duration like 30m, 12h, 90d or 4w")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    return _number(text, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def _number(text: str, kind: str, fits: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not fits(value):
        raise ArgumentTypeError(f"{text!r} is not {kind}")
    return value


def moment(text: str) -> datetime:
    """Read a moment, or a day as its first moment; without a time zone, in UTC."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        sentence = f"{text!r} is not a date like 2026-11-22 or 2026-11-22T12:00:00Z"
        raise ArgumentTypeError(sentence) from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def day(text: str) -> date:
    """Read a day like 2026-11-22."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a day like 2026-11-22") from None
