"""Predictions and batches in the admin: read here, changed only by what the project does."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from detection.models import Prediction, PredictionBatch
from detection.services import delete_prediction


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj=None) -> bool:
        return False


@admin.register(Prediction)
class PredictionAdmin(ReadOnlyAdmin):
    list_display = ["original_filename", "label", "fake_score", "uncertain", "source", "created_at"]
    list_filter = ["label", "uncertain", "source", "review_status"]
    search_fields = ["id", "original_filename"]

    def delete_model(self, request: HttpRequest, obj: Prediction) -> None:
        delete_prediction(prediction=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Prediction]) -> None:
        for prediction in queryset:
            delete_prediction(prediction=prediction)


@admin.register(PredictionBatch)
class PredictionBatchAdmin(ReadOnlyAdmin):
    list_display = ["batch_id", "status", "total_images", "successful", "failed", "created_at"]
    list_filter = ["status", "source"]
    search_fields = ["batch_id"]
