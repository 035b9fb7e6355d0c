from __future__ import annotations

import pytest

from d3site import request_turns
from d3site.request_turns import Turns

pytestmark = pytest.mark.stateless


@pytest.fixture
def order(monkeypatch) -> Turns[str]:
    """Turns in which every item computes until it ends."""
    monkeypatch.setattr(request_turns, "STARTING_SECONDS", 3600)
    return Turns()


def finish(order: Turns[str], count: int) -> list[str]:
    """Return the next items, each of which ends before the next one starts."""
    started = []
    for _ in range(count):
        started.append(order.take())
        order.end(started[-1])
    return started


def test_requests_of_a_caller_start_one_after_the_other(order):
    order.add("a", "a1")
    order.add("a", "a2")

    assert (order.take(), order.take()) == ("a1", None)
    order.end("a1")
    assert (order.take(), order.take()) == ("a2", None)
    order.end("a2")
    assert order.take() is None


def test_another_caller_does_not_wait_for_them(order):
    for number in range(10):
        order.add("a", f"a{number}")
    finish(order, 3)
    assert order.take() == "a3"

    order.add("b", "b0")

    assert (order.take(), order.take()) == ("b0", None)  # while a3 computes


def test_callers_with_many_requests_take_turns(order):
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        order.add(name[0], name)

    assert finish(order, 6) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_caller_has_its_turn_at_once_only_after_others_overtook_it(order):
    for number in range(20):
        order.add("a", f"a{number}")
    finish(order, 5)
    order.add("b", "b0")
    order.add("b", "b1")
    order.add("b", "b2")

    assert [order.take(), order.take(), order.take()] == ["b0", None, None]


def test_a_request_that_waits_for_something_else_delays_no_other(monkeypatch):
    monkeypatch.setattr(request_turns, "STARTING_SECONDS", 0)
    order = Turns()
    order.add("a", "a1")
    order.add("a", "a2")

    assert (order.take(), order.take()) == ("a1", "a2")


def test_the_pause_ends_with_the_request(order):
    assert order.pause() == 0
    order.add("a", "a1")
    order.take()
    assert 3500 < order.pause() <= 3600
    order.end("a1")
    assert order.pause() == 0


def test_callers_are_forgotten(order):
    for number in range(1000):
        order.add(f"192.0.2.{number}", f"{number}")
        finish(order, 1)

    assert len(order._next) < 5
