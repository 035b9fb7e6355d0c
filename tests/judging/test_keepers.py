from __future__ import annotations

import pytest

from detection.errors import DatabaseUnavailableError
from detection.judging.keepers import DirectKeeper
from detection.judging.pipeline import Job
from detection.models import Prediction
from detection.records.batches import open_batch
from detection.records.writing import write_predictions
from detection.statistics.usage import count_predictions
from tests.support.factories import an_upload, image_bytes, unsaved_prediction

pytestmark = pytest.mark.django_db


def test_a_repeated_insert_is_an_outage_that_leaves_nothing(stored_files):
    """A driver repeats an insert whose answer was lost: the database has the record already."""
    batch = open_batch(total_images=1, source="batch")
    keeper = DirectKeeper(batch)
    job = Job(0, an_upload(), prediction=unsaved_prediction(batch=batch, batch_index=0))
    keeper.store_files(job, image_bytes())
    assert len(stored_files()) == 2
    write_predictions([job.prediction])

    with pytest.raises(DatabaseUnavailableError):
        keeper.write([job])

    assert not Prediction.objects.exists()
    assert stored_files() == []
    assert count_predictions(user=None)["total_predictions"] == 0
    assert (batch.successful, batch.failed) == (0, 0)
