"""Counts of predictions and refusals."""

from __future__ import annotations

from django.db import models

from detection.models.choices import Source
from detection.models.ids import primary_key


class RefusalCount(models.Model):
    """How many images of one source were refused for one reason on one day."""

    id = primary_key(80)
    day = models.DateField(db_index=True)
    source = models.CharField(max_length=10, choices=Source)
    code = models.CharField(max_length=40, help_text="As in the API's errors")
    count = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "refusal_counts"

    def __str__(self) -> str:
        return f"{self.day} {self.source} {self.code}: {self.count}"


class Total(models.Model):
    """The totals of a day or of all days, for one version of the model and one owner or all.
    ``detection.records.totals`` updates it, and ``detection.statistics.usage`` reads it.
    """

    id = primary_key(120)
    owner = models.CharField(max_length=32, blank=True, help_text="Empty: all users")
    kind = models.CharField(max_length=8, help_text="usage, or the spread of scores and latencies")
    span = models.CharField(max_length=10, help_text="A day in UTC, as 2026-11-22, or: ever")
    model_version = models.CharField(max_length=64)
    # Numbers by name: those of usage by label, certainty and review status, and by what files
    # declare; then those of spread
    counts = models.JSONField(default=dict)
    score_sums = models.JSONField(default=dict)
    declared = models.JSONField(default=dict)
    score_bins = models.JSONField(default=dict)
    latencies = models.JSONField(default=dict)
    revision = models.PositiveBigIntegerField(default=0, help_text="Increases with each change")

    class Meta:
        db_table = "totals"
        indexes = [models.Index(fields=["span"], name="total_span")]

    def __str__(self) -> str:
        return self.pk
