"""Earlier scores of the same bytes."""

from __future__ import annotations

import pytest

from detection.records import duplicates
from detection.records.duplicates import find_scores
from tests.support.factories import store_predictions, unsaved_prediction


@pytest.mark.django_db
def test_an_image_that_was_sent_often_hides_no_other(monkeypatch):
    monkeypatch.setattr(duplicates, "MAX_AT_ONCE", 2)
    often = [unsaved_prediction(sha256=letter * 64) for letter in "a0b" for _ in range(3)]
    store_predictions(often)

    found = find_scores(
        sha256s={letter * 64 for letter in "a0bc"},
        model_version=often[0].model_version,
        user=None,
    )

    assert found.keys() == {letter * 64 for letter in "a0b"}
