from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError

from detection.models import Prediction, PredictionBatch, Total, now
from detection.statistics.usage import count_predictions
from detection.upkeep.recounting import rebuild_totals
from detection.workbench.seeding import OWNERS, seed_predictions
from tests.support.commands import printed_by
from tests.support.factories import a_prediction

pytestmark = pytest.mark.django_db


def seed(*arguments: str) -> str:
    return printed_by("seed_predictions", *arguments)


def test_seeded_records_are_consistent(admin_client, stored_files):
    assert seed("--count", "130") == "130 predictions were stored.\n"

    assert count_predictions(user=None)["total_predictions"] == 130
    assert rebuild_totals(correct=False).wrong == []
    for batch in PredictionBatch.objects.all():
        assert batch.predictions.count() == batch.successful == 5
    assert stored_files() == ["seeded/original.jpg", "seeded/result.jpg"]
    printed_by("verify_storage")
    shown = admin_client.get(f"/api/predictions/{Prediction.objects.first().pk}/").json()
    assert admin_client.get("/history/").status_code == 200
    assert shown["prediction"]["label"] in ("REAL", "FAKE")


def test_the_same_seed_gives_the_same_records():
    until = now()
    made = []
    for number in (1, 1, 2):
        sum(seed_predictions(count=21, until=until, seed=number))
        made.append(list(Prediction.objects.values_list("pk", "fake_score", "original_filename")))
        seed("--remove")

    assert made[0] == made[1]
    assert not set(made[0]) & set(made[2])


def test_real_predictions_are_not_deleted(stored_files):
    real = a_prediction()

    with pytest.raises(CommandError, match="There are real predictions here; nothing was stored"):
        seed()
    assert seed("--count", "5", "--among-others") == "5 predictions were stored.\n"
    assert seed("--remove") == "5 predictions were deleted.\n"

    assert list(Prediction.objects.all()) == [real]
    assert not PredictionBatch.objects.exists()
    assert not get_user_model().objects.filter(username__in=OWNERS).exists()
    assert {row.model_version for row in Total.objects.all()} == {real.model_version}
    assert stored_files() == []
