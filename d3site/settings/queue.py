"""Queued batches. With a broker, workers judge them; without one, this process does."""

from __future__ import annotations

from kombu import Exchange, Queue

from d3site.broker import beat_schedule, broker_options
from d3site.settings.environment import DATA_DIR, env

QUEUE_LEASE_SECONDS = 60  # after that, another worker judges the images of a killed worker
REQUEUE_SECONDS = 30  # between two searches for images whose message was lost
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", "")
CELERY_BROKER_CONNECTION_TIMEOUT = 4  # seconds that a request waits for a lost broker
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = broker_options(CELERY_BROKER_URL)
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True  # the records hold the results
CELERY_TASK_DEFAULT_QUEUE = "d3-batches"
# Separate queues, so that a scan of a million images delays neither a small batch nor the upkeep
CELERY_TASK_QUEUES = [
    Queue(name, Exchange(name), routing_key=name)
    for name in ("d3-batches", "d3-scans", "d3-upkeep")
]
CELERY_TASK_ROUTES = {"detection.upkeep.*": {"queue": "d3-upkeep"}}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
PURGE_AFTER_DAYS = env.int("PURGE_AFTER_DAYS", default=0)  # 0: never
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "celerybeat-schedule")
CELERY_BEAT_SCHEDULE = beat_schedule(requeue_seconds=REQUEUE_SECONDS, purges=PURGE_AFTER_DAYS > 0)

# Whether webhooks may be sent to private addresses, and without TLS
WEBHOOK_ALLOW_PRIVATE = env.bool("WEBHOOK_ALLOW_PRIVATE", default=False)
