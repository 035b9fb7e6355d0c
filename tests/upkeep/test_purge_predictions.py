from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from detection import tasks
from detection.judging.predict import predict_image, predict_images
from detection.models import Prediction, PredictionBatch, new_id, now
from detection.records.batches import close_batch
from tests.support.commands import printed_by
from tests.support.factories import an_upload

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


LONG_AGO = now() - timedelta(days=100)


def an_old_batch() -> PredictionBatch:
    return PredictionBatch.objects.create(
        batch_id=new_id(LONG_AGO), created_at=LONG_AGO, total_images=1, source="batch"
    )


def purge(*arguments: str) -> str:
    return printed_by("purge_predictions", "--older-than", "90d", *arguments)


@pytest.fixture
def of_two_ages(monkeypatch) -> tuple[Prediction, Prediction]:
    """A prediction of 100 days ago in a batch of its own, and one of today."""
    monkeypatch.setattr("detection.upkeep.purging.PURGE_STEP", 2)
    batch = an_old_batch()
    [old] = predict_images(uploads=[an_upload()], source="batch", batch=batch)
    close_batch(batch=batch)
    Prediction.objects.update(created_at=LONG_AGO)
    return old.prediction, predict_image(upload=an_upload(seed=1), source="api")


def test_old_records_and_their_files_are_deleted_and_new_ones_stay(of_two_ages, stored_files):
    _, new = of_two_ages

    assert re.fullmatch(
        r"1 predictions older than \d{4}-\d\d-\d\d \d\d:\d\d UTC and their files were deleted\.\n",
        purge(),
    )
    assert list(Prediction.objects.all()) == [new]
    assert stored_files() == sorted(new.file_keys)
    assert not PredictionBatch.objects.exists()


def test_the_nightly_task_deletes_what_is_older_than_the_setting(of_two_ages, settings):
    settings.PURGE_AFTER_DAYS = 90

    tasks.purge()

    assert list(Prediction.objects.all()) == [of_two_ages[1]]


@pytest.mark.parametrize("days", [0, -1])
def test_a_worker_whose_setting_says_never_deletes_nothing(of_two_ages, settings, caplog, days):
    settings.PURGE_AFTER_DAYS = days

    tasks.purge()

    assert Prediction.objects.count() == 2
    assert f"PURGE_AFTER_DAYS is {days} on this worker: nothing is deleted." in caplog.text


def test_a_dry_run_only_counts(of_two_ages, stored_files):
    before = stored_files()

    printed = purge("--dry-run")

    assert printed.startswith("1 predictions are older than ")
    assert printed.endswith("; nothing was deleted.\n")
    assert Prediction.objects.count() == 2
    assert stored_files() == before


def test_many_records_are_deleted_step_by_step(of_two_ages):
    for seed in range(5):
        predict_image(upload=an_upload(seed=seed), source="api")
    Prediction.objects.update(created_at=now() - timedelta(days=91))

    assert purge().startswith("7 predictions older than ")


def test_a_batch_that_still_has_predictions_stays(of_two_ages):
    old, _ = of_two_ages
    Prediction.objects.filter(pk=old.pk).update(created_at=now())

    purge()

    assert PredictionBatch.objects.get().predictions.get() == old


def test_a_batch_that_still_runs_stays():
    an_old_batch()

    purge()

    assert PredictionBatch.objects.exists()


@pytest.mark.parametrize("text", ["90", "d", "-1d", "1y", "99999d", "٣d"])
def test_an_age_that_is_no_duration_is_refused(text):
    with pytest.raises(CommandError, match=r"is not a duration like 30m|expected one argument"):
        call_command("purge_predictions", f"--older-than={text}")


@pytest.mark.usefixtures("lost_database")
def test_without_database_it_says_so():
    with pytest.raises(CommandError, match="The database cannot be reached"):
        purge()
