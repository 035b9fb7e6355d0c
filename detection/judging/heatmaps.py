"""Draw heatmaps on request: they show where in a picture the evidence for its verdict lies.

A heatmap explains a score, so only the model that gave the score can make it.
"""

from __future__ import annotations

from pathlib import Path

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection import d3
from detection.d3.images import decode_frame
from detection.errors import ServiceError, database_errors, storage_errors
from detection.judging.active_detector import get_detector
from detection.judging.drawing import draw_heatmap
from detection.judging.limits import decoding, explaining, image_limits
from detection.models import Prediction, new_id
from detection.records import delete_files, read_original, undo_writes


class OtherModelError(ServiceError):
    """Another model than the present one gave the verdict."""

    code = "other_model"


def open_heatmap(*, prediction: Prediction, data: bytes | Path | None = None) -> File:
    """Return a JPEG as large as the upright picture, drawn and stored at the first request.

    ``data`` is the image that was judged, by default the stored original.

    Raises OtherModelError, OriginalLostError, ImageError, Prediction.DoesNotExist for a record that
    was deleted in the meantime, and UnavailableError.
    """
    if stored := _stored(prediction):
        return stored
    detector = _detector_of(prediction)
    if data is None:
        data = read_original(prediction)
    with explaining:
        with decoding:  # other threads may decode while the network works
            pixels = decode_frame(data, prediction.frame, image_limits())
        picture = ContentFile(draw_heatmap(pixels, detector.explain(pixels).map))
    _store(prediction, picture)
    picture.seek(0)
    return picture


def _stored(prediction: Prediction) -> File | None:
    if not prediction.heatmap_image:
        return None
    with storage_errors():
        try:
            return default_storage.open(prediction.heatmap_image.name)
        except FileNotFoundError:
            return None


def _detector_of(prediction: Prediction) -> d3.Detector:
    detector = get_detector()
    if prediction.model_version != detector.info.version:
        raise OtherModelError(
            f"This verdict was given by {prediction.model_name} {prediction.model_version}, which "
            "no longer runs here; have the image judged again to see the evidence."
        )
    return detector


def _store(prediction: Prediction, picture: ContentFile) -> None:
    """Store the file, then the record. Of two heatmaps drawn at the same time, one is deleted."""
    # A new name, since the file of a failed try may be deleted later
    key = prediction.key("heatmaps", f"{new_id()}.jpg")
    earlier = prediction.heatmap_image.name or ""
    record = Prediction.objects.filter(pk=prediction.pk)
    try:
        with storage_errors():
            default_storage.save(key, picture)
        with database_errors():
            is_ours = record.filter(heatmap_image=earlier).update(heatmap_image=key)
            prediction.heatmap_image = key if is_ours else record.get().heatmap_image.name
    except BaseException as error:
        undo_writes(cause=error, files=[key])
        raise
    if not is_ours:
        delete_files([key])
