"""Celery's app: ``celery -A d3site worker`` and ``celery -A d3site beat`` find it here."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "d3site.settings")

app = Celery("d3site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
