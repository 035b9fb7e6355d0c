"""Damaged files of every type, each decoded in a process of its own; `make fuzz` tries more."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.load.fuzzing import MAX_BYTES, MAX_SECONDS, Report, corpus, fuzz, mutants

pytestmark = pytest.mark.stateless

FILES = corpus()
# Types whose checksums or lengths reveal lost or wrong data
CHECKED = ("PNG", "WEBP")
EACH = 20  # damaged files of each


@pytest.fixture(scope="module")
def report() -> Report:
    return fuzz(FILES, count=EACH * len(FILES))


def test_no_damaged_file_ends_the_process_or_takes_long_or_much_memory(report):
    assert report.failures == []
    assert report.slowest < MAX_SECONDS
    assert report.most_bytes < MAX_BYTES
    assert all(counts["tried"] == EACH for counts in report.counts.values())


@pytest.mark.parametrize("name", CHECKED)
def test_destroyed_pictures_with_checked_data_are_not_judged(report, name):
    assert report.counts[name]["destroyed"] > EACH / 2
    assert report.counts[name]["certain"] == 0


def test_most_destroyed_pictures_are_not_judged(report):
    total = report.total
    assert total["certain"] <= total["destroyed"] / 4


def test_each_run_damages_the_files_in_the_same_ways():
    first, second = (list(islice(mutants(FILES), 200)) for _ in range(2))
    assert first == second
    assert all(data != FILES[name] for name, data in first[:3])
