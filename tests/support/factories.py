"""Small images, uploads and records, the same in each run."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import datetime

import numpy as np
from PIL import Image

from detection.judging.predict import Upload
from detection.models import Label, Prediction, Source, new_id, now
from detection.records.perceptual_hash import perceptual_hashes
from detection.records.writing import write_predictions


def noise_image(*, size: tuple[int, int] = (64, 48), seed: int = 0) -> Image.Image:
    """Return an RGB image of noise; ``size`` is width × height."""
    width, height = size
    samples = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(samples)


def scene(*, size: tuple[int, int] = (320, 240), seed: int = 0) -> Image.Image:
    """Return a smooth RGB picture, as photographs are; ``size`` is width × height."""
    return noise_image(size=(12, 9), seed=seed).resize(size, Image.Resampling.BICUBIC)


def image_bytes(
    *, size: tuple[int, int] = (64, 48), seed: int = 0, image_format: str = "JPEG"
) -> bytes:
    buffer = io.BytesIO()
    noise_image(size=size, seed=seed).save(buffer, image_format)
    return buffer.getvalue()


def jpeg_bytes(picture: Image.Image, *, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def a_pictured_prediction(picture: Image.Image, **fields) -> Prediction:
    """Store a record with the perceptual hashes of a picture."""
    prediction = unsaved_prediction(**fields)
    write_predictions([prediction], {prediction.pk: perceptual_hashes(picture)})
    return prediction


def an_upload(*, filename: str = "test.jpg", data: bytes | None = None, seed: int = 0) -> Upload:
    return Upload(filename=filename, data=image_bytes(seed=seed) if data is None else data)


def a_prediction(**fields) -> Prediction:
    """Store the record of an image that does not exist."""
    prediction = unsaved_prediction(**fields)
    write_predictions([prediction])
    return prediction


def store_predictions(predictions: Iterable[Prediction]) -> list[Prediction]:
    """Store many records at once."""
    stored = list(predictions)
    write_predictions(stored)
    return stored


def unsaved_prediction(
    *, fake_score: float = 0.9, created_at: datetime | None = None, **fields
) -> Prediction:
    created_at = created_at or now()
    standard = {
        "id": new_id(created_at),
        "source": Source.API,
        "original_filename": "test.jpg",
        "result_filename": "result_test.jpg",
        "result_image": "results/test.jpg",
        "original_image": "originals/test.jpg",
        "sha256": "0" * 64,
        "size_bytes": 1000,
        "width": 64,
        "height": 48,
        "image_format": "JPEG",
        "updated_at": created_at,
        "margin": abs(fake_score - fields.get("threshold", 0.5)),
        "label": Label.FAKE if fake_score > 0.5 else Label.REAL,
        "threshold": 0.5,
        "uncertain": False,
        "model_name": "d3-test",
        "model_version": "1",
        "duration_ms": 5,
    }
    return Prediction(fake_score=fake_score, created_at=created_at, **(standard | fields))
