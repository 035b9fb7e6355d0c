"""Predictions are deleted with their files."""

from __future__ import annotations

from detection.errors import UnavailableError, database_errors
from detection.models import Prediction
from detection.records.undoing import delete_files, take_back
from detection.records.writing import delete_predictions


def delete_prediction(*, prediction: Prediction) -> None:
    """Removes a record and its files; files that cannot be deleted now are deleted later.

    Raises UnavailableError without a database; the deletion is then completed when it is back.
    """
    delete_with_files([prediction])


def delete_with_files(predictions: list[Prediction]) -> None:
    ids = [prediction.pk for prediction in predictions]
    keys = [key for prediction in predictions for key in prediction.file_keys]
    try:
        with database_errors():
            # A heatmap may have been drawn since they were read.
            deleted = delete_predictions(ids)
            keys = [key for prediction in deleted for key in prediction.file_keys]
    except UnavailableError as error:
        take_back(cause=error, predictions=ids, files=keys)
        raise
    delete_files(keys)
