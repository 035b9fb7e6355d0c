"""Heatmaps: where in a picture the evidence for its verdict lies, drawn when somebody asks.

A heatmap explains a score, so only the model that gave the score can make it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.d3.images import decode_image
from detection.errors import ServiceError, database_errors, storage_errors
from detection.files import storage_key
from detection.judging.detector import get_detector
from detection.judging.drawing import draw_heatmap
from detection.judging.limits import decoding, explaining, image_limits
from detection.models import Prediction, new_id
from detection.records import delete_files, read_original, take_back

if TYPE_CHECKING:
    from detection.d3 import Detector


class OtherModelError(ServiceError):
    """The record was made by another model than the one that runs now."""

    code = "other_model"


def open_heatmap(*, prediction: Prediction) -> File:
    """A JPEG as large as the upright picture; drawn and stored the first time.

    Raises OtherModelError, OriginalLostError, ImageError, Prediction.DoesNotExist for a record that
    was deleted meanwhile, and UnavailableError.
    """
    if stored := _stored(prediction):
        return stored
    detector = _detector_of(prediction)
    return _made(prediction, read_original(prediction), detector)


def make_heatmap(*, prediction: Prediction, data: bytes | Path) -> None:
    """Draws and stores the heatmap of a prediction on ``data``, the bytes that were judged.

    Raises what ``open_heatmap`` does.
    """
    _made(prediction, data, _detector_of(prediction)).close()


def _stored(prediction: Prediction) -> File | None:
    if not prediction.heatmap_image:
        return None
    with storage_errors():
        try:
            return default_storage.open(prediction.heatmap_image.name)
        except FileNotFoundError:
            return None


def _detector_of(prediction: Prediction) -> Detector:
    detector = get_detector()
    if prediction.model_version != detector.info.version:
        raise OtherModelError(
            f"This verdict was given by {prediction.model_name} {prediction.model_version}, which "
            "no longer runs here; have the image judged again to see the evidence."
        )
    return detector


def _made(prediction: Prediction, data: bytes | Path, detector: Detector) -> File:
    with explaining:
        with decoding:  # others go on while the network works
            pixels = decode_image(data, image_limits()).pixels
        picture = ContentFile(draw_heatmap(pixels, detector.explain(pixels).map))
    _store(prediction, picture)
    picture.seek(0)
    return picture


def _store(prediction: Prediction, picture: ContentFile) -> None:
    """File first, then record; of two that were drawn at the same time one is kept."""
    key = storage_key(
        folder="heatmaps",
        record_id=prediction.pk,
        moment=prediction.created_at,
        filename=f"{new_id()}.jpg",  # never that of an earlier try, which may still be deleted
    )
    earlier = prediction.heatmap_image.name or ""
    record = Prediction.objects.filter(pk=prediction.pk)
    try:
        with storage_errors():
            default_storage.save(key, picture)
        with database_errors():
            is_kept = record.filter(heatmap_image=earlier).update(heatmap_image=key)
            prediction.heatmap_image = key if is_kept else record.get().heatmap_image.name
    except BaseException as error:
        take_back(cause=error, files=[key])
        raise
    if not is_kept:
        delete_files([key])
