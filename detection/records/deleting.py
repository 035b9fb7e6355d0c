"""Delete predictions with their files."""

from __future__ import annotations

from detection.errors import UnavailableError, database_errors
from detection.models import Prediction
from detection.records.undoing import delete_files, undo_writes
from detection.records.writing import delete_predictions


def delete_with_files(predictions: list[Prediction]) -> None:
    """Delete records and their files.

    Raises UnavailableError during an outage of the database; then everything is deleted later.
    """
    try:
        with database_errors():
            deleted = delete_predictions([prediction.pk for prediction in predictions])
    except UnavailableError as error:
        undo_writes(cause=error, predictions=predictions)
        raise
    # The deleted records name the files, since a heatmap may be newer than ``predictions``.
    delete_files(key for prediction in deleted for key in prediction.file_keys)
