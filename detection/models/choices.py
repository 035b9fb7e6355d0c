"""Choices that several tables share."""

from __future__ import annotations

from django.db import models


class Label(models.TextChoices):
    REAL = "REAL", "Real"
    FAKE = "FAKE", "Fake"


class Source(models.TextChoices):
    API = "api", "API"
    BATCH = "batch", "Batch"
    SCAN = "scan", "Folder scan"
    PAGE = "page", "Page"
    RERUN = "rerun", "Judged again"
