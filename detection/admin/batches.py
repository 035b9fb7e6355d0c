"""Batches in the admin."""

from __future__ import annotations

from django.contrib import admin

from detection.admin.read_only import ReadOnlyAdmin
from detection.models import PredictionBatch


@admin.register(PredictionBatch)
class PredictionBatchAdmin(ReadOnlyAdmin):
    list_display = ["batch_id", "status", "total_images", "successful", "failed", "created_at"]
    list_filter = ["status", "source"]
    search_fields = ["batch_id"]
