"""The counters behind the limits, in memory and in Redis."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.core.cache import cache
from rest_framework.exceptions import Throttled

from detection.web.throttling import SLOTS, PredictThrottle
from tests.support.limits import a_request, redis_cache
from tests.support.servers import RedisServer
from tests.support.threads import at_once

pytestmark = pytest.mark.stateless

MINUTE = 60


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = time.time() // MINUTE * MINUTE  # where a slot begins

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "redis"])
def counters(request, settings, tmp_path) -> None:
    """Each kind of cache, empty."""
    if request.param == "memory":
        cache.clear()
        yield
        cache.clear()
        return
    with RedisServer(tmp_path / "redis") as server:
        settings.CACHES = redis_cache(server)
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(counters, rates, clock) -> Callable[..., PredictThrottle]:
    """A function that returns the throttle of a further request, at 60 a minute."""
    rates["predict"] = "60/min"

    def make() -> PredictThrottle:
        throttle = PredictThrottle()
        throttle.timer = clock
        return throttle

    return make


def is_allowed(throttle: PredictThrottle, images: int = 1, *, address: str = "192.0.2.1") -> bool:
    try:
        is_allowed = throttle.allow_request(a_request(address), None)
        if is_allowed:
            throttle.count(images - 1)
    except Throttled:
        return False
    return is_allowed


def test_one_of_four_simultaneous_batches_is_allowed(throttle):
    def is_counted(own: PredictThrottle) -> bool:
        with suppress(Throttled):
            own.count(60)
            return True
        return False

    for round_number in range(10):
        requests = [throttle() for _ in range(4)]
        for each in requests:
            each.allow_request(a_request(f"192.0.2.{round_number}"), None)
        assert sorted(at_once(is_counted, requests)) == [False, False, False, True]


def test_parallel_requests_get_exactly_the_rate(throttle):
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda _: is_allowed(throttle()), range(200)))

    assert Counter(results) == {True: 60, False: 140}


def test_refused_requests_are_not_counted(throttle):
    assert is_allowed(throttle(), 59)
    late = throttle()
    assert late.allow_request(a_request("192.0.2.1"), None)
    assert not is_allowed(throttle())  # the rate is used up
    late.release(1)

    assert is_allowed(throttle(), 100)  # the last one may be larger than what is left
    assert not is_allowed(throttle())


def test_a_batch_whose_further_images_are_refused_counts_as_one_request(throttle):
    first, second = throttle(), throttle()
    for each in (first, second):
        assert each.allow_request(a_request("192.0.2.1"), None)
    first.count(60)
    with pytest.raises(Throttled) as refusal:
        second.count(60)
    assert refusal.value.wait == MINUTE

    first.release(60)

    assert [is_allowed(throttle(), 57), is_allowed(throttle()), is_allowed(throttle())] == [
        *(True, True, False)
    ]


def test_a_request_is_allowed_again_when_the_wait_is_over_and_not_before(throttle, clock):
    chance = random.Random(0)
    refused = 0
    for _ in range(150):
        clock.now += chance.expovariate(1 / 4)
        own = throttle()
        if is_allowed(own, chance.choice([1, 1, 20, 70])):
            continue
        refused += 1
        assert 0 < own.wait() <= MINUTE
        clock.now += own.wait() - 0.01
        assert not is_allowed(throttle())
        clock.now += 0.02
        assert is_allowed(throttle())
    assert refused > 10


def test_no_minute_has_more_than_the_rate_by_more_than_a_slot(throttle, clock):
    chance = random.Random(1)
    allowed = []
    for _ in range(600):
        clock.now += chance.expovariate(2)
        if is_allowed(throttle()):
            allowed.append(clock.now)

    shortest = min(last - first for first, last in zip(allowed, allowed[60:], strict=False))
    assert shortest > MINUTE - MINUTE / SLOTS


def test_counts_of_a_clock_that_is_ahead_count(throttle, clock):
    clock.now += MINUTE / SLOTS - 0.1
    ahead = throttle()
    ahead.timer = lambda: clock.now + 0.2
    assert is_allowed(ahead, 60)

    assert not is_allowed(throttle())


def test_work_of_unknown_amount_reserves_the_rate_and_counts_what_it_was(throttle):
    first = throttle()
    assert is_allowed(first)
    with first.metered() as spend:
        spend(10)
        assert not is_allowed(throttle())
        spend(20)

    assert is_allowed(throttle(), 30)
    assert not is_allowed(throttle())


def test_work_that_is_more_than_the_rate_is_counted_as_it_is_done(throttle, clock):
    first = throttle()
    assert is_allowed(first)
    with first.metered() as spend:
        for _ in range(4):
            spend(45)
            clock.now += 20
        assert not is_allowed(throttle())  # though the first part is forgotten

    clock.now += MINUTE
    assert is_allowed(throttle())


def test_work_that_fails_is_counted(throttle):
    first = throttle()
    assert is_allowed(first)
    with suppress(EOFError), first.metered() as spend:
        spend(300)
        raise EOFError

    assert not is_allowed(throttle())


def test_one_of_four_simultaneous_requests_does_work_of_unknown_amount(throttle):
    end = threading.Barrier(4)

    def works(own: PredictThrottle) -> bool:
        with suppress(Throttled), own.metered():
            end.wait()
            return True
        end.wait()
        return False

    requests = [throttle() for _ in range(4)]
    for each in requests:
        each.allow_request(a_request("192.0.2.1"), None)
    assert sorted(at_once(works, requests)) == [False, False, False, True]


def test_without_a_rate_nothing_is_counted(counters, rates):
    rates["predict"] = ""
    for _ in range(3):
        own = PredictThrottle()
        assert own.allow_request(a_request(), None)
        own.count(1000)
        own.release(1000)
        with own.metered() as spend:
            spend(1000)
