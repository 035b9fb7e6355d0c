"""The metrics that Prometheus reads at ``/metrics``: those of this process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("d3_http_requests", "Requests answered", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "d3_http_request_seconds",
    "Time from the first byte to the answer",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
REQUESTS_IN_PROGRESS = Gauge("d3_http_requests_in_progress", "Requests being answered now")
FAILED_SIGN_INS = Counter("d3_failed_sign_ins", "Sign-ins with a wrong name or password")
ERRORS = Counter("d3_errors", "Errors answered, by the code of their envelope", ["code"])

MODEL_SECONDS = Histogram(
    "d3_model_seconds",
    "Time of one inference, for all the images that share it",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
MODEL_IMAGES = Counter("d3_model_images", "Images that went through the model")
MODEL_GROUP_IMAGES = Histogram(
    "d3_model_group_images",
    "Images that share one inference",
    buckets=(1, 2, 4, 8, 16, 32, 64),
)
MODEL_QUEUE = Gauge("d3_model_queue_images", "Images in the queue before the model")
PREDICTIONS = Counter("d3_predictions", "Verdicts given", ["label", "source"])
REFUSED_IMAGES = Counter("d3_refused_images", "Images that could not be judged", ["code", "source"])
QUEUED_BATCHES = Gauge("d3_queued_batches", "Batches queued or running, in all processes")
