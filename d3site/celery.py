"""Celery's app: ``celery -A d3site worker`` and ``celery -A d3site beat`` find it here."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from celery import Celery
from celery.signals import worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "d3site.settings")

app = Celery("d3site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
def refuse_missing_tables(**signal: object) -> None:
    """End a worker whose database lacks tables."""
    from detection.errors import DatabaseUnavailableError, MissingTablesError
    from detection.records import check_tables

    with suppress(DatabaseUnavailableError):  # the database may be back soon
        try:
            check_tables()
        except MissingTablesError as error:
            sys.exit(str(error))
