"""Predictions in the admin: search, view, review and delete them, but never edit them."""

from __future__ import annotations

import re

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.fields.files import FieldFile
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from detection.admin import actions, cells
from detection.admin.changelist import NewestFirstAdmin
from detection.admin.filters import (
    DateRange,
    FileSays,
    ModelVersion,
    OfBatch,
    ScoreRange,
    Uncertain,
)
from detection.judging import percentage
from detection.models import RECORD_ID, Prediction
from detection.records import delete_with_files, same_bytes

VERDICT = [cells.verdict, cells.score, "threshold_of_model"]
REVIEW = ["review_status", "reviewer", "reviewed_at", "review_note"]
FILE = ["file_name", "original", "heatmap", "sha256", "size_bytes", "size"]
FRAMES = ["frames", "frame", "judged_frames"]
ORIGIN = ["id", "time", "source", "source_url", "owner", "batch", "batch_index", "duration_ms"]


@admin.register(Prediction)
class PredictionAdmin(NewestFirstAdmin):
    change_list_template = "admin/detection/prediction/change_list.html"
    list_display = [
        cells.thumbnail,
        "file_name",
        cells.verdict,
        cells.score,
        "file_says",
        "review_status",
        "source",
        "version",
        "time",
    ]
    list_display_links = ["file_name"]
    list_filter = [
        OfBatch,
        "label",
        Uncertain,
        ("declares", FileSays),
        "review_status",
        "source",
        DateRange,
        ScoreRange,
        ModelVersion,
    ]
    search_fields = ["original_filename"]
    search_help_text = "Part of the file name, or a complete id or sha256"
    actions = [
        actions.confirm,
        actions.overturn,
        actions.judge_again,
        actions.export_csv,
        actions.delete_selected,
    ]
    fieldsets = [
        (None, {"fields": ["result", *VERDICT]}),
        ("Review", {"fields": REVIEW}),
        ("File", {"fields": [*FILE, "image_format", "damaged", *FRAMES, "camera", "software"]}),
        ("What the file says", {"fields": ["file_says", "disputed", cells.claims]}),
        ("Origin", {"fields": ORIGIN}),
        ("Model", {"fields": ["model_name", "model_version", "duplicate_of", "others"]}),
    ]

    def has_review_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("detection.review_prediction")

    def has_rejudge_permission(self, request: HttpRequest) -> bool:
        """Judging again adds records."""
        return request.user.has_perm("detection.add_prediction")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Prediction], search_term: str
    ) -> tuple[QuerySet[Prediction], bool]:
        return queryset.filter(**_exact(search_term)), False

    def name_in(self, search: str) -> str:
        return "" if _exact(search) else search.strip()

    def delete_model(self, request: HttpRequest, obj: Prediction) -> None:
        delete_with_files([obj])

    def file_name(self, prediction: Prediction) -> str:
        return prediction.original_filename

    @admin.display(description="the file says")
    def file_says(self, prediction: Prediction) -> str:
        return prediction.get_declares_display()

    @admin.display(description="time (UTC)")
    def time(self, prediction: Prediction) -> str:
        return cells.moment(prediction.created_at)

    @admin.display(description="threshold")
    def threshold_of_model(self, prediction: Prediction) -> str:
        return percentage(prediction.threshold)

    @admin.display(description="model")
    def version(self, prediction: Prediction) -> SafeString:
        """Link to the list of this version's verdicts."""
        query = urlencode({"model_version": prediction.model_version})
        return format_html('<a href="?{}">{}</a>', query, prediction.model_version)

    @admin.display(description="picture")
    def result(self, prediction: Prediction) -> SafeString:
        return format_html(
            '<a href="{}"><img class="result" src="{}" alt="The picture with its verdict"></a>',
            cells.review_link(prediction),
            prediction.result_image.url,
        )

    @admin.display(description="original file")
    def original(self, prediction: Prediction) -> SafeString:
        return _file_link(prediction.original_image)

    def heatmap(self, prediction: Prediction) -> SafeString:
        return _file_link(prediction.heatmap_image)

    @admin.display(description="width × height")
    def size(self, prediction: Prediction) -> str:
        return f"{prediction.width} × {prediction.height}"

    @admin.display(description="other verdicts on the same bytes")
    def others(self, prediction: Prediction) -> SafeString:
        return cells.table(same_bytes(prediction))


def _exact(search: str) -> dict[str, str]:
    """Return the lookup of an id or a sha256; empty for a part of a file name."""
    term = search.strip()
    if re.fullmatch(RECORD_ID, term.upper()):
        return {"pk": term.upper()}
    if re.fullmatch("[0-9a-fA-F]{64}", term):
        return {"sha256": term.lower()}
    return {}


def _file_link(file: FieldFile) -> SafeString | str:
    return format_html('<a href="{}">Open</a>', file.url) if file else "–"
