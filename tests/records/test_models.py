from __future__ import annotations

import pytest

from detection.models import Prediction, new_id

pytestmark = pytest.mark.stateless


@pytest.mark.parametrize(("label", "confidence"), [("FAKE", 0.75), ("REAL", 0.25)])
def test_the_confidence_is_the_score_of_the_label_given(label, confidence):
    assert Prediction(label=label, fake_score=0.75).confidence == confidence


@pytest.mark.parametrize(
    ("label", "review_status", "in_force"),
    [
        ("FAKE", "unreviewed", "FAKE"),
        ("FAKE", "confirmed", "FAKE"),
        ("FAKE", "overturned", "REAL"),
        ("REAL", "overturned", "FAKE"),
    ],
)
def test_the_reviewers_label_is_in_force(label, review_status, in_force):
    assert Prediction(label=label, review_status=review_status).label_in_force == in_force


def test_ids_are_different_ulids():
    ids = {new_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert {len(identifier) for identifier in ids} == {26}
