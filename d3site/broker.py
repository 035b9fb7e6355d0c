"""Celery's options for the broker, and the schedule of ``celery beat``."""

from __future__ import annotations

from typing import Any

from celery.schedules import crontab

HOUR = 3600


def broker_options(url: str) -> dict[str, Any]:
    """Return the transport options of the broker at ``url``."""
    scheme = url.partition("://")[0]
    if scheme in ("redis", "rediss", "sentinel"):
        # A worker needs minutes at most for the images of a message. A message that is delivered
        # again does nothing: its images are leased or judged already.
        return {
            "visibility_timeout": HOUR,
            "socket_connect_timeout": 2,
            "socket_timeout": 4,
            "socket_keepalive": True,
        }
    return {"visibility_timeout": HOUR} if scheme == "sqs" else {}


def beat_schedule(*, requeue_seconds: float, purges: bool) -> dict[str, dict]:
    """Return the schedule of ``celery beat``. A task that no worker starts in time expires, since
    the next task does the same work.
    """
    schedule = {
        "requeue": _entry("requeue", requeue_seconds, expires=HOUR / 6),
        "deliver_webhooks": _entry("deliver_webhooks", 60, expires=HOUR / 6),
        "rebuild_totals": _entry("rebuild_totals", crontab(hour=3, minute=10), expires=HOUR),
        "rebuild_all_totals": _entry(
            "rebuild_all_totals", crontab(hour=4, minute=10, day_of_week="sunday"), expires=HOUR
        ),
    }
    if purges:
        schedule["purge"] = _entry("purge", crontab(hour=3, minute=40), expires=HOUR)
    return schedule


def _entry(task: str, schedule: Any, *, expires: float) -> dict:
    return {
        "task": f"detection.upkeep.{task}",
        "schedule": schedule,
        "options": {"expires": expires},
    }
