from __future__ import annotations

import pytest

from detection.judging.predict import predict_image
from detection.models import Prediction
from detection.records.deleting import delete_with_files
from detection.statistics import count_predictions
from detection.upkeep import rebuild_totals
from tests.support.commands import failure_of, printed_by
from tests.support.factories import a_prediction, an_upload
from tests.support.provenance import MIDJOURNEY, generated_picture, picture_with

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def inspected() -> str:
    return printed_by("inspect_provenance")


def old_record(data: bytes | None = None, *, seed: int = 0) -> Prediction:
    """Store a record as a version wrote it that did not inspect files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detection.judging.pipeline.inspect_upload", lambda data: None)
        return predict_image(upload=an_upload(data=data, seed=seed), source="api")


def test_old_records_get_what_their_files_say(monkeypatch):
    monkeypatch.setattr("detection.upkeep.provenance.AT_ONCE", 2)
    said = old_record(picture_with(texts={"Description": MIDJOURNEY}))
    signed = old_record(generated_picture())
    plain = [old_record(seed=seed) for seed in range(2)]

    assert inspected() == "4 records were inspected: 2 generated, 0 edited, 0 captured.\n"

    for each in (said, signed, *plain):
        each.refresh_from_db()
    assert said.provenance["says"] == "This file says that it was made with Midjourney."
    assert (said.declares, signed.declares) == ("generated", "generated")
    assert said.disputed == (said.label == "REAL")
    assert all(each.provenance and not each.declares for each in plain)
    assert count_predictions(user=None)["declared"]["generated"] == 2
    assert rebuild_totals(correct=False).wrong == []
    assert inspected() == "0 records were inspected: 0 generated, 0 edited, 0 captured.\n"


def test_a_lost_original_is_named_and_the_others_are_inspected():
    a_prediction(original_filename="lost.jpg")
    other = old_record()
    sentence, code, printed = failure_of("inspect_provenance")
    assert "1 originals are lost." in sentence
    assert code == 2
    assert "The original of lost.jpg is no longer in the storage." in printed
    other.refresh_from_db()
    assert other.provenance


def test_a_record_inspected_meanwhile_is_deleted_from_the_totals_too():
    record = old_record(picture_with(texts={"Description": MIDJOURNEY}))
    inspected()
    delete_with_files([record])  # as it was read before
    assert count_predictions(user=None)["declared"]["generated"] == 0
