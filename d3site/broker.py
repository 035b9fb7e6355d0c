"""What the settings say to Celery that depends on the broker, and what is done by the clock."""

from __future__ import annotations

from typing import Any

from celery.schedules import crontab

HOUR = 3600


def broker_options(url: str) -> dict[str, Any]:
    """Options for a broker that needs some."""
    scheme = url.partition("://")[0]
    if scheme in ("redis", "rediss", "sentinel"):
        # A chunk of images takes minutes at most. When a message comes back nevertheless, its
        # images are leased or judged, and it does nothing.
        return {
            "visibility_timeout": HOUR,
            "socket_connect_timeout": 2,
            "socket_timeout": 4,
            "socket_keepalive": True,
        }
    return {"visibility_timeout": HOUR} if scheme == "sqs" else {}


def beat_schedule(*, requeue_seconds: float, purges: bool) -> dict[str, dict]:
    """What ``celery beat`` sends. What no worker takes for long is dropped: more of the same has
    come since.
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
