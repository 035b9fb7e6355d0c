"""Invalid parameters of the history are refused before any query of the database."""

from __future__ import annotations

import pytest

from tests.support.api import assert_refused

pytestmark = pytest.mark.stateless

URL = "/api/predictions/"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", "blue"),
        ("label", ""),
        ("review_status", "seen"),
        ("uncertain", "perhaps"),
        *((name, text) for name in ("min_score", "max_score") for text in ("nan", "inf", "2", "x")),
        *((name, text) for name in ("limit", "page_size") for text in ("0", "101", "abc", "1.5")),
        ("from", "yesterday"),
        ("from", "2026-02-30"),
        ("from", "2026-03-05T25:00:00Z"),
        ("to", "9999-12-31"),
        ("batch", "my batch"),
        ("search", "a" * 201),
        ("search", "a\0b"),
        ("cursor", "nonsense"),
        ("cursor", "cD0yMDI2LTAzLTA1"),
        ("cursor", f"older-99999999999999999999-{'0' * 26}"),
        ("colour", "red"),
        ("format", "json"),
    ],
)
def test_an_invalid_parameter_is_named(client, name, value):
    sentence = assert_refused(client.get(URL, {name: value}), 400, "invalid")

    assert sentence.startswith(f"{name}: ")


def test_every_invalid_parameter_is_named(client):
    sentence = assert_refused(client.get(URL, {"limit": "0", "label": "x"}), 400, "invalid")

    assert "limit: " in sentence
    assert "label: " in sentence


def test_a_parameter_that_is_sent_twice_is_named(client):
    sentence = assert_refused(client.get(f"{URL}?label=FAKE&label=REAL"), 400, "invalid")

    assert sentence.startswith("label: ")
