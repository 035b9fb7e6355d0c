from __future__ import annotations

import signal

import pytest

from detection.management.interrupts import StopSignals

pytestmark = pytest.mark.stateless


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered_and_the_second_interrupts(number):
    with StopSignals() as stop:
        signal.raise_signal(number)
        assert stop.received == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_signals_do_not_interrupt_the_cleaning_up():
    with StopSignals() as stop:
        stop.ignore()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    assert stop.received is None


def test_afterwards_the_earlier_signal_handlers_are_back():
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    with StopSignals() as stop:
        stop.ignore()

    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
