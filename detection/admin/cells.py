"""Cells of the admin's lists and pages: verdict, score, picture, progress."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from django.contrib import admin
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from detection.judging import percentage
from detection.models import Prediction, PredictionBatch


def verdict(prediction: Prediction) -> SafeString:
    """Show the label in force, and an overturned label crossed out."""
    shown = _badge(prediction.label_in_force)
    if prediction.label_in_force != prediction.label:
        shown = format_html("<del>{}</del> {}", prediction.label, shown)
    if prediction.uncertain:
        shown = format_html('{} <span class="badge badge-uncertain">UNCERTAIN</span>', shown)
    return shown


def _badge(label: str) -> SafeString:
    return format_html('<span class="badge badge-{}">{}</span>', label.lower(), label)


@admin.display(description="fake score")
def score(prediction: Prediction) -> SafeString:
    """Show the fake score as a bar with the threshold, and as a number."""
    return format_html(
        '<span class="score"><svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none"'
        ' aria-hidden="true"><rect class="bar-track" width="100" height="10"></rect>'
        '<rect class="bar-{}" width="{}" height="10"></rect>'
        '<rect class="bar-threshold" x="{}" width="1.5" height="10"></rect></svg> {}</span>',
        prediction.label.lower(),
        f"{100 * prediction.fake_score:.1f}",
        f"{100 * prediction.threshold - 0.75:.1f}",
        percentage(prediction.fake_score),
    )


@admin.display(description="")
def thumbnail(prediction: Prediction) -> SafeString:
    """Show the result picture, small, as a link to the review."""
    return format_html(
        '<a class="thumbnail" href="{}"><img src="{}" alt="Review {}" width="72" height="54"'
        ' loading="lazy"></a>',
        review_link(prediction),
        prediction.result_image.url,
        prediction.original_filename,
    )


def moment(value: datetime | None) -> str:
    """Return ``2026-11-26 13:58``, in UTC, or a dash for None."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}" if value else "–"


def review_link(prediction: Prediction) -> str:
    return reverse("review", args=[prediction.pk])


def table(predictions: Iterable[Prediction]) -> SafeString:
    """Show predictions on the page of another record."""
    rows = [
        {
            "prediction": each,
            "picture": thumbnail(each),
            "verdict": verdict(each),
            "score": score(each),
            "time": moment(each.created_at),
        }
        for each in predictions
    ]
    return render_to_string("admin/detection/verdicts.html", {"rows": rows})


def claims(prediction: Prediction) -> SafeString | str:
    """Show what the file says of its origin, or a dash if it says nothing."""
    return render_to_string("provenance.html", {"prediction": prediction}).strip() or "–"


def progress(batch: PredictionBatch) -> SafeString:
    """Show a bar of the judged and the failed images, and their numbers."""
    total = max(batch.total_images, 1)
    judged, failed = (100 * part / total for part in (batch.successful, batch.failed))
    return format_html(
        '<span class="score"><svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none"'
        ' aria-hidden="true"><rect class="bar-track" width="100" height="10"></rect>'
        '<rect class="bar-done" width="{}" height="10"></rect>'
        '<rect class="bar-failed" x="{}" width="{}" height="10"></rect></svg> {} of {}</span>',
        f"{judged:.1f}",
        f"{judged:.1f}",
        f"{failed:.1f}",
        batch.successful + batch.failed,
        batch.total_images,
    )


@admin.display(description="status")
def state(batch: PredictionBatch) -> SafeString:
    return format_html(
        '<span class="badge badge-{}">{}</span>', batch.status, batch.get_status_display()
    )
