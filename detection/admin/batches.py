"""Batches in the admin, with their progress, results and errors."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from detection.admin import cells
from detection.admin.changelist import NewestFirstAdmin
from detection.admin.filters import DateRange
from detection.models import PredictionBatch
from detection.queue import count_queued_images, refresh_counts

MAX_RESULTS = 100  # on the page of a batch; a folder scan may have a million


@admin.register(PredictionBatch)
class PredictionBatchAdmin(NewestFirstAdmin):
    list_display = [
        "batch_id",
        cells.state,
        "progress",
        "judged",
        "unreadable",
        "queued",
        "source",
        "started",
        "finished",
    ]
    list_filter = ["status", "source", DateRange]
    search_fields = ["batch_id"]
    search_help_text = "The whole id"
    fieldsets = [
        (
            None,
            {"fields": [cells.state, "progress", "total_images", "judged", "unreadable", "queued"]},
        ),
        ("Origin", {"fields": ["batch_id", "source", "owner", "sending", "started", "finished"]}),
        ("Errors", {"fields": ["refused"]}),
    ]
    webhook_fieldsets = [("Webhook", {"fields": ["receiver", "delivery"]})]
    result_fieldsets = [("Results", {"fields": ["results", "all_results"]})]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PredictionBatch]:
        """Leave out the errors, up to a thousand per record, which only a batch's page shows."""
        return super().get_queryset(request).defer("errors")

    def get_fieldsets(
        self, request: HttpRequest, obj: PredictionBatch | None = None
    ) -> list[tuple[str | None, dict]]:
        """Show the results, which are predictions, to users who may see predictions."""
        may_see = request.user.has_perm("detection.view_prediction")
        return [
            *self.fieldsets,
            *(self.webhook_fieldsets if obj and obj.webhook_url else []),
            *(self.result_fieldsets if may_see else []),
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[PredictionBatch], search_term: str
    ) -> tuple[QuerySet[PredictionBatch], bool]:
        term = search_term.strip().upper()
        return (queryset.filter(pk=term) if term else queryset), False

    def progress(self, batch: PredictionBatch) -> SafeString:
        return cells.progress(_current(batch))

    @admin.display(description="successful", ordering="successful")
    def judged(self, batch: PredictionBatch) -> int:
        return _current(batch).successful

    @admin.display(description="failed", ordering="failed")
    def unreadable(self, batch: PredictionBatch) -> int:
        return _current(batch).failed

    def queued(self, batch: PredictionBatch) -> int:
        return count_queued_images(batch)

    @admin.display(description="sent (UTC)")
    def started(self, batch: PredictionBatch) -> str:
        return cells.moment(batch.created_at)

    @admin.display(description="finished (UTC)")
    def finished(self, batch: PredictionBatch) -> str:
        return cells.moment(batch.finished_at)

    @admin.display(description="images that could not be judged")
    def refused(self, batch: PredictionBatch) -> SafeString:
        _current(batch)
        context = {"errors": batch.errors, "unlisted": batch.failed - len(batch.errors)}
        return render_to_string("admin/detection/predictionbatch/errors.html", context)

    def receiver(self, batch: PredictionBatch) -> str:
        """Return the host only: the rest of the URL may contain secrets."""
        return urlsplit(batch.webhook_url).hostname

    @admin.display(description="delivery (UTC)")
    def delivery(self, batch: PredictionBatch) -> str:
        if batch.webhook_delivered_at:
            return f"Delivered {cells.moment(batch.webhook_delivered_at)}"
        last = f"Try {batch.webhook_tries}: {batch.webhook_error}" if batch.webhook_error else ""
        if batch.webhook_due_at:
            return f"{last} Next try {cells.moment(batch.webhook_due_at)}".strip()
        return f"{last} No further tries" if last else "When the batch is done"

    @admin.display(description=f"the first {MAX_RESULTS}")
    def results(self, batch: PredictionBatch) -> SafeString:
        return cells.table(batch.predictions.order_by("batch_index")[:MAX_RESULTS])

    @admin.display(description="all results")
    def all_results(self, batch: PredictionBatch) -> SafeString:
        path = reverse("admin:detection_prediction_changelist")
        return format_html(
            '<a href="{}?{}">In the list of predictions</a>', path, urlencode({"batch": batch.pk})
        )


def _current(batch: PredictionBatch) -> PredictionBatch:
    """Refresh the counts, once per page."""
    if not hasattr(batch, "is_current"):
        refresh_counts(batch)
        batch.is_current = True
    return batch
