"""Measure how answers slow down with the number of records: times at 1000 and at a million records
of a year on SQLite, their ratio and its bound, and the number of queries.

``python -m tests.load.records [SMALL [LARGE]]``. Seeding takes most of the time. Both databases
answer in turns, so that other load of the machine disturbs them alike.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

SMALL, LARGE = 1000, 1_000_000
REPEATS = 7
BOUND = 2.0  # times as long with many records as with few
SEARCH_BOUND = 20.0  # of a search that reads records


class SeededRecords:
    """A process with a database of its own, see ``tests.support.seeded_records``."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, "-m", "tests.support.seeded_records", str(count)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def questions(self) -> list[str]:
        """Wait for the records; return the names of the questions."""
        return self._line()

    def ask(self, question: str) -> tuple[float, int]:
        """Return the milliseconds and the number of queries of the answer."""
        print(question, file=self._process.stdin, flush=True)
        milliseconds, queries = self._line()
        return milliseconds, queries

    def _line(self) -> list:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("The process with the records has ended; see its message above.")
        return json.loads(line)


@dataclass(frozen=True, slots=True)
class Answer:
    """Medians in milliseconds with few records and with many, and the queries with many."""

    question: str
    few: float
    many: float
    queries: int

    @property
    def ratio(self) -> float:
        return self.many / self.few

    @property
    def bound(self) -> float:
        return SEARCH_BOUND if "search" in self.question else BOUND

    def __str__(self) -> str:
        verdict = "" if self.ratio <= self.bound else "  too slow"
        return (
            f"{self.question:24} {self.few:10.1f} {self.many:10.1f} {self.ratio:7.1f} "
            f"{self.bound:7.0f} {self.queries:8}{verdict}"
        )


def ask_in_turns(question: str, few: SeededRecords, many: SeededRecords) -> Answer:
    """Ask both several times. Leave out the first answers, which are slower."""
    rounds = [(few.ask(question), many.ask(question)) for _ in range(1 + REPEATS)][1:]
    of_few, of_many = (
        statistics.median(each[0] for each in side) for side in zip(*rounds, strict=True)
    )
    return Answer(question, of_few, of_many, queries=rounds[-1][1][1])


def main(small: int = SMALL, large: int = LARGE) -> int:
    """Return exit code 1 when an answer takes longer than its bound."""
    with ExitStack() as stack:
        few, many = (stack.enter_context(SeededRecords(count)) for count in (small, large))
        few.questions()
        answers = [ask_in_turns(question, few, many) for question in many.questions()]
    print(f"Median of {REPEATS}, in milliseconds")
    print(f"{'records':24} {small:>10} {large:>10} {'ratio':>7} {'bound':>7} {'queries':>8}")
    print(*answers, sep="\n")
    return int(any(each.ratio > each.bound for each in answers))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
