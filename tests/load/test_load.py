"""The criteria of the load test, and a short run. `make load-test` is the long one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.load.run import Answer, LoadResult, run_load

pytestmark = [pytest.mark.own_servers, pytest.mark.stateless]

GOOD = LoadResult(
    pair="sqlite-folder",
    clients=64,
    seconds=120,
    answers=[
        Answer("predict", 100.0, 200, None),
        Answer("predict", 5.0, 503, "queue_full"),
        Answer("bad file", 10.0, 415, "unsupported_image_type"),
    ],
    memory=(1000.0, 1049.0),
    storage_problem="",
    locust_code=0,
)


def test_verdicts_refusals_and_bad_files_are_no_failures():
    assert GOOD.failures == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"answers": [*GOOD.answers, Answer("batch", 1.0, 500, "internal_server_error")]}, "500"),
        ({"answers": [*GOOD.answers, Answer("predict", 1.0, 503, "database_unavailable")]}, "503"),
        ({"answers": [*GOOD.answers, Answer("history", 1.0, 0, None)]}, "history: 0"),
        ({"answers": [*GOOD.answers, Answer("batch", 1.0, 400, "missing_image")]}, "batch: 400"),
        ({"answers": [*GOOD.answers, Answer("bad file", 1.0, 500, None)]}, "bad file: 500"),
        ({"locust_code": 1}, "locust ended with 1"),
        ({"answers": GOOD.answers[1:]}, "nothing was answered"),
        ({"memory": (1000.0, 1051.0)}, "memory"),
        ({"storage_problem": "a file without a record"}, "verify_storage"),
    ],
)
def test_anything_else_is_a_failure(change, sentence):
    [failure] = replace(GOOD, **change).failures

    assert sentence in failure


def test_the_table_has_a_row_for_each_kind_and_leaves_refusals_out_of_the_times():
    [row] = [line for line in GOOD.table.splitlines() if line.startswith("predict")]

    assert row.split() == ["predict", "2", "1", "0", "100", "100", "100"]


@pytest.mark.slow
def test_a_small_crowd_gets_no_errors_and_leaves_every_record_with_its_files(tmp_path):
    result = run_load(tmp_path, pair="mongodb-s3", clients=16, seconds=4)

    # The run is too short to judge the memory, which still grows.
    assert [failure for failure in result.failures if "the memory grew" not in failure] == []
    assert {answer.kind for answer in result.answers} >= {"predict", "batch", "history"}
