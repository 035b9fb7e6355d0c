"""Predictions in the admin."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from detection.admin.read_only import ReadOnlyAdmin
from detection.models import Prediction
from detection.services import delete_prediction


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
