"""The criteria of the attack, and a short attack. `make attack` is the long one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.load import attack
from tests.load.attack import Answer, Phase, State, run_attacks

pytestmark = [pytest.mark.own_servers, pytest.mark.stateless]

QUIET = {"health": 0.01, "predict": 0.1}
GOOD = Phase("slow heads", [Answer("health", 0.03, 200)] * 19 + [Answer("predict", 3, 200)], QUIET)
BEFORE = State(pid=1, descriptors=10, memory=400 * 2**20)


def test_nineteen_of_twenty_in_time_are_enough():
    assert GOOD.in_time == 0.95
    assert GOOD.failures == []


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer("health", 0.031, 200), "90.5% of the requests"),
        (Answer("health", 0.001, 500), "health: status 500"),
        (Answer("health", 0.001, 0), "health: status 0"),
        (Answer("health", 0.001, 503), "health: status 503"),
    ],
)
def test_a_late_answer_or_an_error_is_a_failure(answer, sentence):
    failures = replace(GOOD, answers=[*GOOD.answers, answer]).failures

    assert any(sentence in failure for failure in failures)


def test_a_refusal_with_a_retry_time_is_no_error_but_not_in_time():
    refused = Answer("predict", 0.001, 503, has_retry_after=True)

    [failure] = replace(GOOD, answers=[*GOOD.answers, refused]).failures

    assert "90.5% of the requests" in failure


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pid": 2}, "started again"),
        ({"descriptors": 16}, "16 open files"),
        ({"memory": 441 * 2**20}, "441 MiB"),
    ],
)
def test_the_worker_must_be_as_before(change, sentence):
    [failure] = replace(BEFORE, **change).failures(BEFORE)

    assert sentence in failure


def test_small_differences_of_the_worker_are_ignored():
    after = replace(BEFORE, descriptors=15, memory=439 * 2**20)

    assert after.failures(BEFORE) == []


@pytest.mark.slow
def test_slow_clients_cost_the_honest_client_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(attack, "RECOVERY_SECONDS", 0)
    table, failures = run_attacks(tmp_path, names=["slow heads", "slow bodies"], seconds=2)

    # The run is too short to judge times and memory.
    assert [failure for failure in failures if "status" in failure or "again" in failure] == []
    assert "slow bodies" in table
