"""Parts of the OpenAPI document beside the serializers: errors, examples, one path per view."""

from __future__ import annotations

import re

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from detection.api.serializers import (
    BatchResultSerializer,
    ErrorSerializer,
    PredictionResultSerializer,
    RecordSerializer,
    StoredPredictionSerializer,
)
from detection.models import RECORD_ID as ID_PATTERN

CANONICAL = r"/(api/(?!db/)|health/(live/)?$)"
ERROR_MEANINGS = {
    400: "A field or parameter is missing or invalid, or an image cannot be fetched or decoded",
    401: "A token is missing, or not valid",
    403: "The record belongs to another user, a signed-in page sent no CSRF token, or this service "
    "does not fetch images by URL",
    404: "The record does not exist, or belongs to another user",
    409: "The verdict is of a model that no longer runs here, or the batch is complete",
    411: "The request has no Content-Length",
    413: "Too many bytes, or too many pixels",
    415: "The request is compressed or not a multipart form, or the file is not an image of a type "
    "that can be read",
    429: "Too many requests; Retry-After says how many seconds to wait",
    500: "An internal error, which has been logged",
    503: "The service is busy, or a part of it is down; Retry-After says how many seconds to wait",
}
ERROR_EXAMPLES = {
    400: ("truncated_image", "This JPEG file ends too early: a part of the image is missing."),
    401: ("not_authenticated", "Authentication credentials were not provided."),
    403: (
        "permission_denied",
        "Only the owner, or staff with the permission, can delete this prediction.",
    ),
    404: ("not_found", "There is nothing at this address."),
    409: (
        "other_model",
        "This verdict was given by d3-tiny e36a1815af53af6a, which no longer runs here; have the "
        "image judged again to see the evidence.",
    ),
    411: ("length_required", "Send a Content-Length header, not chunks."),
    413: ("image_too_large", "The file is larger than the limit of 25 MiB."),
    415: (
        "unsupported_image_type",
        "This file is not an image of a type that can be read "
        "(JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF or HEIC).",
    ),
    429: ("throttled", "Request was throttled. Expected available in 7 seconds."),
    500: ("internal_server_error", "An internal error occurred; it has been logged."),
    503: ("database_unavailable", "The database cannot be reached."),
}
RECORD_ERRORS = (401, 404, 429, 500, 503)
READING_ERRORS = (400, 401, 429, 500, 503)
SENDING_ERRORS = (400, 401, 403, 411, 413, 415, 429, 500, 503)


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return responses for ``extend_schema``, each with its meaning and an example."""
    return {status: _error(status) for status in sorted(statuses)}


def _error(status: int) -> OpenApiResponse:
    code, sentence = ERROR_EXAMPLES[status]
    shown = {code: {"success": False, "error": sentence, "code": code}}
    return answer(ErrorSerializer, ERROR_MEANINGS[status], shown, status=status)


def answer(
    serializer: type[serializers.Serializer] | object,
    meaning: str,
    examples: dict[str, dict],
    *,
    status: int = 200,
) -> OpenApiResponse:
    """Return a response for ``extend_schema`` with its examples by name."""
    shown = [
        OpenApiExample(name, value=value, response_only=True, status_codes=[str(status)])
        for name, value in examples.items()
    ]
    return OpenApiResponse(serializer, meaning, examples=shown)


def id_parameter(name: str, meaning: str) -> OpenApiParameter:
    """Return the parameter of a path that is the id of a record."""
    pattern = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
    return OpenApiParameter(name, pattern, OpenApiParameter.PATH, description=meaning)


def canonical_endpoints(endpoints: list[tuple]) -> list[tuple]:
    """Return one path per view: new clients should not learn the old paths."""
    return [endpoint for endpoint in endpoints if re.match(CANONICAL, endpoint[0])]


VERDICT = {
    "label": "FAKE",
    "is_fake": True,
    "confidence": 0.8756,
    "uncertain": False,
    "reason": None,
    "scores": {"real": 0.1244, "fake": 0.8756},
    "frame": 1,
    "judged_frames": 1,
    "meaning": "In a test with as many photographs as generated pictures, about 93 of 100 with a "
    "score like this were generated.",
}
PROVENANCE = {
    "declares": "generated",
    "says": "This file says that it was made with Midjourney.",
    "generator": "Midjourney",
    "contradicts_label": False,
    "claims": [
        {
            "kind": "generator",
            "says": "The file has settings as Midjourney writes them.",
            "place": "PNG text 'Description'",
            "declares": "generated",
            "generator": "Midjourney",
            "version": "7",
            "signer": "",
            "trust": "unsigned",
            "trust_says": "Not signed: anybody can write or delete this.",
            "details": {"prompt": "A lighthouse at dusk --ar 3:2 --v 7"},
        }
    ],
    "unread": [],
}
IMAGE_INFO = {
    "width": 512,
    "height": 512,
    "format": "JPEG",
    "size_bytes": 45678,
    "sha256": "d79f2a5bde17249472c899c5556b22671831ae46f409f120e17c7630f1f9716e",
    "damaged": False,
    "frames": 1,
}
MODEL = {"name": "d3-clip-vit-l-14", "version": "e36a1815af53af6a", "threshold": 0.5}
REVIEW = {
    "status": "unreviewed",
    "label": "FAKE",
    "reviewer": None,
    "reviewed_at": None,
    "note": "",
}
SIMILAR = {
    "id": "01M7ZK2N1V6X0E9T5Q8W3R4Y7A",
    "distance": 12,
    "label": "FAKE",
    "review_status": "overturned",
    "reviewed_at": "2026-11-20T09:30:00.000000Z",
    "created_at": "2026-11-20T09:12:00.000000Z",
}
RESULT_URL = "https://files.example.org/d3/results/2026/11/…"
RESULT_NAME = "result_20261122_120000_test.jpg"
RECORD_ID = "01M84Q580AZZY3CNE3Y34WJ3B2"
BATCH_ID = "01M84Q5FJ0SB8ETF0GZ9RRYV5H"

# Example values of the fields of predictions, in the order in which examples show them
FIELDS = {
    "success": True,
    "index": 0,
    "id": RECORD_ID,
    "filename": "test.jpg",
    "source": "api",
    "source_url": None,
    "batch_id": None,
    "duplicate_of": None,
    "timestamp": "2026-11-22T12:00:00.000000Z",
    "prediction": VERDICT,
    "provenance": PROVENANCE,
    "image_info": IMAGE_INFO,
    "timestamps": {
        "created_at": "2026-11-22T12:00:00.000000Z",
        "updated_at": "2026-11-22T12:00:00.000000Z",
    },
    "storage": {
        "minio_url": RESULT_URL,
        "original_url": "https://files.example.org/d3/originals/2026/11/…",
        "heatmap_url": None,
        "result_filename": RESULT_NAME,
    },
    "model": MODEL,
    "result_image_url": RESULT_URL,
    "result_filename": RESULT_NAME,
    "duration_ms": 412,
    "heatmap_url": None,
    "review": REVIEW,
    "similar": SIMILAR,
}


def example_of(serializer: type[serializers.Serializer]) -> dict:
    """Return the example of an answer, with the fields that its serializer has."""
    return {name: value for name, value in FIELDS.items() if name in serializer().fields}


PREDICTION = example_of(PredictionResultSerializer)
FETCHED = PREDICTION | {"source_url": "https://images.example.org/2026/test.jpg"}
RECORD = example_of(RecordSerializer)
PAGE = {
    "success": True,
    "count": 1,
    "next": None,
    "previous": None,
    "searched_to": None,
    "predictions": [RECORD],
}
STORED = example_of(StoredPredictionSerializer)
BATCH = {
    "success": True,
    "batch_id": BATCH_ID,
    "status": "done",
    "total_images": 2,
    "successful": 1,
    "failed": 1,
    "created_at": "2026-11-22T12:00:00.000000Z",
    "finished_at": "2026-11-22T12:00:01.500000Z",
    "results": [example_of(BatchResultSerializer)],
    "errors": [
        {
            "index": 1,
            "filename": "notes.jpg",
            "error": ERROR_EXAMPLES[415][1],
            "code": "unsupported_image_type",
        }
    ],
    "predictions_url": f"https://detect.example.org/api/predictions?batch={BATCH_ID}",
}
QUEUED_BATCH = {
    **BATCH,
    "status": "queued",
    "successful": 0,
    "failed": 0,
    "finished_at": None,
    "results": [],
    "errors": None,
    "webhook_secret": "whsec_bm90IGEgcmVhbCBvbmUsIG9ubHkgYW4gZXhhbXBsZSE=",
}
STATISTICS = {
    "success": True,
    "total_predictions": 120,
    "fake_count": 45,
    "real_count": 75,
    "uncertain_count": 9,
    "fake_percentage": 37.5,
    "real_percentage": 62.5,
    "average_confidence": {"fake": 0.9312, "real": 0.8874},
    "declared": {"generated": 12, "edited": 1, "captured": 0},
}
STATISTICS_OF_A_DAY = {
    **STATISTICS,
    "days": [
        {"date": "2026-11-22"}
        | {name: figure for name, figure in STATISTICS.items() if name != "success"}
    ],
}
