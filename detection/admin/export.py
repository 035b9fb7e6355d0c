"""Predictions as CSV."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import prefetch_related_objects
from django.http import HttpResponse

from detection.files import CsvTable
from detection.models import Prediction, now

COLUMNS: dict[str, Callable[[Prediction], object]] = {
    "id": lambda each: each.pk,
    "time": lambda each: each.created_at,
    "filename": lambda each: each.original_filename,
    "label": lambda each: each.label,
    "fake_score": lambda each: each.fake_score,
    "threshold": lambda each: each.threshold,
    "uncertain": lambda each: each.uncertain,
    "reason": lambda each: each.reason,
    "review_status": lambda each: each.review_status,
    "label_in_force": lambda each: each.label_in_force,
    "reviewer": lambda each: each.reviewer.get_username() if each.reviewer else "",
    "reviewed_at": lambda each: each.reviewed_at,
    "note": lambda each: each.review_note,
    "model": lambda each: each.model_name,
    "model_version": lambda each: each.model_version,
    "source": lambda each: each.source,
    "sha256": lambda each: each.sha256,
    "size_bytes": lambda each: each.size_bytes,
    "width": lambda each: each.width,
    "height": lambda each: each.height,
    "format": lambda each: each.image_format,
    "damaged": lambda each: each.damaged,
    "frames": lambda each: each.frames,
    "frame": lambda each: each.frame,
    "judged_frames": lambda each: each.judged_frames,
    "camera": lambda each: each.camera,
    "software": lambda each: each.software,
    "declares": lambda each: each.declares,
    "generator": lambda each: each.provenance.get("generator", ""),
    "file_says": lambda each: each.provenance.get("says", ""),
}


def csv_of(predictions: list[Prediction]) -> HttpResponse:
    """Return a CSV file to download, one row per prediction."""
    prefetch_related_objects(predictions, "reviewer")
    name = f"predictions_{now():%Y%m%d_%H%M%S}.csv"
    response = HttpResponse(
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    table = CsvTable(response, COLUMNS)
    for prediction in predictions:
        table.add(value_of(prediction) for value_of in COLUMNS.values())
    return response
