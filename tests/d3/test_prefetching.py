from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from detection.d3.prefetching import in_groups, run_ahead

pytestmark = pytest.mark.stateless


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_results_are_in_the_order_of_the_items(threads):
    assert list(run_ahead(threads, str, range(20), ahead=4)) == [str(n) for n in range(20)]


def test_items_are_read_only_a_little_ahead(threads):
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    with closing(run_ahead(threads, str, items(), ahead=4)) as results:
        next(results)
        assert taken == [0, 1, 2, 3]


def test_results_that_were_not_consumed_are_undone_when_the_consumer_stops(threads):
    done, undone = [], []

    def step(number: int) -> int:
        done.append(number)
        return number

    with closing(run_ahead(threads, step, range(100), ahead=6, undo=undone.append)) as results:
        first = next(results)

    assert sorted([first, *undone]) == sorted(done)


def test_a_failing_step_undoes_the_others(threads):
    undone = []

    def step(number: int) -> int:
        if number == 0:
            raise OSError("the disk is full")
        return number

    with pytest.raises(OSError, match="full"):
        list(run_ahead(threads, step, range(3), ahead=3, undo=undone.append))

    assert set(undone) <= {1, 2}
    threads.shutdown()


def test_groups_have_the_given_size_and_the_last_the_rest():
    assert list(in_groups(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_the_items_of_an_unfinished_group_are_undone():
    def items():
        yield from range(5)
        raise OSError("the disk is full")

    undone, taken = [], []
    with pytest.raises(OSError, match="full"):
        taken.extend(in_groups(items(), 3, undo=undone.append))

    assert (taken, undone) == ([[0, 1, 2]], [3, 4])


def test_the_items_of_a_consumed_group_are_not_undone():
    undone = []

    with closing(in_groups(range(5), 2, undo=undone.append)) as groups:
        next(groups)

    assert undone == []
