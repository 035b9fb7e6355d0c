from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from detection.judging.batcher import Batcher, CallerGoneError, StoppedError, results_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.stateless


class Work:
    """Double numbers, and record the calls. If ``held``, each call blocks until ``release``."""

    def __init__(self, *, held: bool = False) -> None:
        self.calls: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.held = held

    def __call__(self, key: str, items: list[int]) -> list[int]:
        self.calls.append(items)
        self.started.release()
        if self.held:
            assert self.go.acquire(timeout=30)
        return [2 * item for item in items]

    @property
    def sizes(self) -> list[int]:
        return [len(call) for call in self.calls]

    def release(self) -> None:
        """Let all calls continue."""
        self.held = False
        self.go.release()


def a_batcher(process, *, most: int = 8, room: int = 100, **options) -> Batcher:
    return Batcher(process, max_items=lambda key: most, room=room, **options)


def busy(**options) -> tuple[Work, Batcher]:
    """Return a batcher that processes the item 0 until its ``work`` is released."""
    work = Work(held=True)
    batcher = a_batcher(work, **options)
    batcher.submit("a", [0])
    assert work.started.acquire(timeout=30)
    return work, batcher


def run(batcher: Batcher, items: list[int]) -> list[int]:
    return results_of(batcher.submit("a", items))


def results(futures: list) -> list:
    return [future.result(timeout=30) for future in futures]


def test_a_single_caller_has_a_call_of_its_own_at_once():
    work = Work()
    batcher = a_batcher(work)

    assert [run(batcher, [number]) for number in (1, 2, 3)] == [[2], [4], [6]]
    assert work.calls == [[1], [2], [3]]


def test_items_that_queue_up_during_a_call_share_the_next_one():
    work, batcher = busy()
    with ThreadPoolExecutor(5) as callers:
        answers = [callers.submit(run, batcher, [number]) for number in range(1, 6)]
        assert eventually(lambda: batcher.waiting == 5)
        work.release()
        got = [answer.result(timeout=30) for answer in answers]

    assert got == [[2], [4], [6], [8], [10]]
    assert work.sizes == [1, 5]


def test_items_of_a_caller_that_hung_up_are_skipped():
    gone = threading.Event()
    work, batcher = busy(most=2)
    ours = batcher.submit("a", [1, 2, 3], is_gone=gone.is_set)
    work.go.release()
    assert work.started.acquire(timeout=30)  # with 1 and 2
    theirs = batcher.submit("a", [4, 5], is_gone=lambda: False)
    gone.set()
    work.release()

    assert results(ours[:2]) == [2, 4]
    with pytest.raises(CallerGoneError):
        ours[2].result(timeout=30)
    assert results(theirs) == [8, 10]
    assert work.calls == [[0], [1, 2], [4, 5]]


def test_a_call_is_bounded_and_has_the_items_of_each_caller_in_order():
    work, batcher = busy(most=4)
    futures = [*batcher.submit("a", [1, 2, 3]), *batcher.submit("a", [4, 5, 6, 7, 8, 9])]
    work.release()

    assert results(futures) == [2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert work.calls == [[0], [1, 4, 2, 5], [3, 6, 7, 8], [9]]


def test_items_with_different_keys_share_no_call_and_lose_no_place():
    work, batcher = busy()
    futures = [
        *batcher.submit("a", [1]),
        *batcher.submit("b", [2]),
        *batcher.submit("a", [3]),
        *batcher.submit("c", [4]),
        *batcher.submit("b", [5]),
    ]
    work.release()

    assert results(futures) == [2, 4, 6, 8, 10]
    assert work.calls == [[0], [1, 3], [2, 5], [4]]


def test_without_items_there_is_no_call():
    work = Work()

    assert run(a_batcher(work), []) == []
    assert work.calls == []


def test_one_bad_item_never_harms_its_neighbours():
    def process(key: str, items: list[int]) -> list[int]:
        started.release()
        go.wait(30)
        if 13 in items:
            raise ValueError(f"bad luck among {len(items)}")
        return items

    started, go = threading.Semaphore(0), threading.Event()
    batcher = a_batcher(process)
    first = batcher.submit("a", [0])
    assert started.acquire(timeout=30)
    good, bad = batcher.submit("a", [1, 2, 3]), batcher.submit("a", [13])
    go.set()

    assert results([*first, *good]) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"among 1$"):
        results(bad)


def test_a_call_that_gives_too_few_results_fails_instead_of_mixing_them_up():
    with pytest.raises(ValueError, match="zip"):
        run(a_batcher(lambda key, items: []), [1, 2])


def test_cancelled_items_are_not_processed():
    work, batcher = busy(most=2)
    futures = batcher.submit("a", [1, 2, 3, 4])
    assert [futures[0].cancel(), futures[1].cancel()] == [True, True]
    work.release()

    assert results(futures[2:]) == [6, 8]
    assert work.calls == [[0], [3, 4]]


def test_after_the_first_failure_of_a_caller_its_other_items_are_skipped():
    def process(key: str, items: list[int]) -> list[int]:
        tried.extend(items)
        if items == [1]:
            raise ValueError
        if items == [2]:
            assert given_up.wait(30)
        return items

    tried: list[int] = []
    given_up = threading.Event()
    batcher = a_batcher(process, most=1)
    with pytest.raises(ValueError):  # noqa: PT011  without a message
        run(batcher, [1, 2, 3, 4])
    given_up.set()
    batcher.stop()

    assert set(tried) <= {1, 2}


def test_with_several_callers_a_call_waits_for_as_many_items_as_the_last_one_had():
    work, batcher = busy(linger=30)
    early = [*batcher.submit("a", [1]), *batcher.submit("a", [2]), *batcher.submit("a", [3])]
    work.release()
    results(early)
    late = [future for number in (4, 5, 6) for future in batcher.submit("a", [number])]

    assert results(late) == [8, 10, 12]
    assert work.sizes == [1, 3, 3]


def test_a_call_waits_only_once_for_callers_that_stay_away():
    work, batcher = busy(linger=0.01)
    early = [*batcher.submit("a", [1]), *batcher.submit("a", [2])]
    work.release()
    results(early)

    assert run(batcher, [3]) == [6]
    batcher._linger = 3600
    assert run(batcher, [4]) == [8]


def test_a_call_does_not_wait_after_one_caller_with_several_items():
    work = Work()
    batcher = a_batcher(work, linger=3600)

    assert run(batcher, [1, 2]) == [2, 4]
    assert run(batcher, [3]) == [6]


def test_a_caller_without_room_blocks_until_there_is_some():
    work, batcher = busy(room=2)
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(run, batcher, [1, 2, 3])
        assert eventually(lambda: batcher.waiting == 2)
        assert not answer.done()
        work.release()

        assert answer.result(timeout=30) == [2, 4, 6]


def test_stopping_finishes_accepted_items_and_refuses_more():
    work, batcher = busy(most=1)
    accepted = batcher.submit("a", [1, 2])
    with ThreadPoolExecutor(1) as stopper:
        stopped = stopper.submit(batcher.stop)
        assert eventually(lambda: batcher._is_stopped)
        with pytest.raises(StoppedError):
            run(batcher, [3])
        assert not stopped.done()
        work.release()
        stopped.result(timeout=30)

    assert all(future.done() for future in accepted)
    assert work.calls == [[0], [1], [2]]


def test_a_caller_that_waits_for_room_gets_an_error_at_the_stop():
    work, batcher = busy(room=1)
    batcher.submit("a", [1])
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(run, batcher, [2])
        threads.submit(batcher.stop)

        with pytest.raises(StoppedError):
            answer.result(timeout=30)
        work.release()


def test_at_the_stop_items_of_a_caller_with_too_little_room_are_not_processed():
    work, batcher = busy(room=2)
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(run, batcher, [1, 2, 3])
        assert eventually(lambda: batcher.waiting == 2)
        threads.submit(batcher.stop)

        with pytest.raises(StoppedError):
            answer.result(timeout=30)
        work.release()

    assert work.calls == [[0]]


@pytest.mark.parametrize("options", [{"room": 0}, {"linger": -1.0}, {"threads": 0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"room|wait|thread"):
        a_batcher(Work(), **options)


def test_two_threads_process_two_calls_and_the_rest_queues_up():
    work, batcher = busy(threads=2)
    futures = batcher.submit("a", [1])
    assert work.started.acquire(timeout=30)
    futures += batcher.submit("a", [2, 3])
    assert batcher.waiting == 2
    for _ in range(3):
        work.go.release()

    assert results(futures) == [2, 4, 6]
    assert work.calls == [[0], [1], [2, 3]]


@pytest.mark.parametrize("threads", [1, 3])
def test_with_random_failures_and_cancellations_each_caller_gets_its_own_results(threads):
    """Use 64 threads, where each tenth item is bad and each tenth future is cancelled."""

    def process(key: int, items: list[tuple[int, int]]) -> list[tuple[int, int]]:
        sizes.append(len(items))
        if any(group != key for group, _ in items):
            raise AssertionError("items of different keys were mixed")
        if any(number % 10 == 3 for _, number in items):
            raise ArithmeticError(items[0][1] if len(items) == 1 else "a group")
        return [(group, -number) for group, number in items]

    def call(caller: int) -> Counter[str]:
        chance, seen = random.Random(caller), Counter()
        for turn in range(20):
            key, numbers = chance.randrange(3), chance.sample(range(1000), chance.randint(1, 5))
            futures = batcher.submit(key, [(key, number) for number in numbers])
            if turn % 10 == 0:
                futures[-1].cancel()
            for number, future in zip(numbers, futures, strict=True):
                seen[outcome(key, number, future)] += 1
        return seen

    def outcome(key: int, number: int, future) -> str:
        try:
            right = future.result(timeout=60) == (key, -number)
        except ArithmeticError as error:
            right = number % 10 == 3 and error.args == (number,)
            return "refused" if right else "wrong"
        except CancelledError:
            return "cancelled"
        return "right" if right and number % 10 != 3 else "wrong"

    sizes: list[int] = []
    batcher = a_batcher(process, most=16, room=40, linger=0.001, threads=threads)
    with ThreadPoolExecutor(64) as callers:
        seen = sum(callers.map(call, range(64)), Counter())
    batcher.stop()

    assert seen["wrong"] == 0
    assert seen["right"] > 2000
    assert seen["refused"] > 100
    assert batcher.waiting == 0
    assert max(sizes) <= 16
    assert sum(size > 1 for size in sizes) > 100


def test_a_single_item_does_not_wait_for_all_items_of_another_caller():
    work, batcher = busy(most=2)
    many = batcher.submit("a", range(1, 7))
    single = batcher.submit("a", [10])
    work.release()
    results([*many, *single])

    assert work.calls == [[0], [1, 10], [2, 3], [4, 5], [6]]


def test_callers_take_turns_from_their_arrival():
    """A newcomer shares the remaining calls. It does not catch up with earlier callers."""
    work, batcher = busy(most=1)
    first = batcher.submit("a", [11, 12, 13, 14])
    for _ in range(2):
        work.go.release()
        assert work.started.acquire(timeout=30)
    second = batcher.submit("a", [21, 22])
    work.release()
    results([*first, *second])

    assert [item for [item] in work.calls] == [0, 11, 12, 21, 13, 22, 14]


def test_newcomers_do_not_delay_an_earlier_caller_for_ever():
    work, batcher = busy(most=1)
    many = batcher.submit("a", [11, 12])
    newcomers = []
    for number in range(100, 110):
        newcomers += batcher.submit("a", [number])
        work.go.release()
        assert work.started.acquire(timeout=30)
    work.release()
    results([*many, *newcomers])

    order = [item for [item] in work.calls]
    assert order.index(12) < order.index(109)
