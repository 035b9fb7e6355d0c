"""Settings with short time-outs, for tests that kill servers and workers."""

from __future__ import annotations

from d3site.broker import beat_schedule
from d3site.settings import *  # noqa: F403
from d3site.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.impatience.Impatience"]
QUEUE_LEASE_SECONDS = 3
REQUEUE_SECONDS = 2
CELERY_BEAT_SCHEDULE = beat_schedule(requeue_seconds=REQUEUE_SECONDS, purges=False)
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
