"""The dashboard: usage, speed, errors, and quality as measured by reviews.

The page consists of tables; its script draws charts from them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from detection.models import RefusalCount, Source
from detection.statistics import (
    Confusion,
    Period,
    PeriodError,
    Usage,
    count_failed_batches,
    count_groups,
    count_scores,
    latency_percentiles,
    read_days,
    read_refusals,
    review_queue,
    robustness,
)

RECENT = (7, 30, 90, 365)  # days, offered as links


class DayField(forms.DateField):
    def __init__(self, label: str) -> None:
        super().__init__(
            label=label,
            required=False,
            input_formats=["%Y-%m-%d"],
            widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
            error_messages={"invalid": "Enter a date like 2026-11-22."},
        )


class SelectionForm(forms.Form):
    """Which predictions are shown. ``period`` is the last 30 days by default."""

    version = forms.CharField(
        label="Model version",
        required=False,
        widget=forms.Select,
        validators=[MaxLengthValidator(64)],
    )

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields = {"from": DayField("From"), "to": DayField("To"), **self.fields}
        self.period = Period.between(None, None)

    def clean(self) -> dict[str, Any]:
        if "from" in self.cleaned_data and "to" in self.cleaned_data:
            try:
                self.period = Period.between(self.cleaned_data["from"], self.cleaned_data["to"])
            except PeriodError as error:
                raise forms.ValidationError(str(error)) from error
        return self.cleaned_data

    def shown(self, versions: list[str]) -> SelectionForm:
        """Return the form with the selection in force, or with its errors."""
        asked = self.cleaned_data.get("version", "")
        initial = {"from": self.period.first, "to": self.period.last, "version": asked}
        form = self if self.errors else SelectionForm(initial=initial)
        choices = [(version, version) for version in sorted({*versions, asked} - {""})]
        form.fields["version"].widget.choices = [("", "All"), *choices]
        return form


@dataclass(slots=True)
class Day:
    """A row of the table by day. Refused images have no model version: all are counted."""

    date: date
    usage: Usage = field(default_factory=Usage)
    refused: int = 0


@admin.site.admin_view
@permission_required("detection.view_prediction", raise_exception=True)
@require_safe
def dashboard(request: HttpRequest) -> TemplateResponse:
    form = SelectionForm(request.GET)
    form.full_clean()
    period, asked = form.period, form.cleaned_data.get("version", "")
    rows = read_days(period)
    versions = sorted({group["model_version"] for group in count_groups(rows)})
    if asked:
        rows = [row for row in rows if row.model_version == asked]
    groups = list(count_groups(rows))
    context = {
        **admin.site.each_context(request),
        "title": "Dashboard",
        "form": form.shown(versions),
        "period": period,
        "version": asked,
        "recent": [(days, Period.latest(days)) for days in RECENT],
        "scores": count_scores(rows),
        "latencies": latency_percentiles(rows),
        **_usage(groups, period),
        **_quality(groups),
        "failed_batches": count_failed_batches(period),
        "queue": review_queue(),
        "robustness": robustness(start=period.start, end=period.end, model_version=asked),
    }
    return TemplateResponse(request, "admin/dashboard.html", context)


def _usage(groups: list[dict[str, Any]], period: Period) -> dict[str, Any]:
    usage, days = Usage(), {day: Day(day) for day in period.days}
    for group in groups:
        usage.add(**group)
        days[group["day"]].usage.add(**group)
    refusals = read_refusals(period)
    for refusal in refusals:
        days[refusal.day].refused += refusal.count
    return {
        "usage": usage,
        "days": list(days.values()),
        "refused": sum(refusal.count for refusal in refusals),
        "sources": Source.labels,
        "refusals": _by_code(refusals),
    }


def _by_code(refusals: list[RefusalCount]) -> list[tuple[str, list[int], int]]:
    """Return codes, the most frequent first, with their numbers by source and the sum."""
    numbers: dict[str, Counter[str]] = defaultdict(Counter)
    for refusal in refusals:
        numbers[refusal.code][refusal.source] += refusal.count
    rows = [
        (code, [by_source[source] for source in Source.values], by_source.total())
        for code, by_source in numbers.items()
    ]
    return sorted(rows, key=lambda row: (-row[-1], row[0]))


def _quality(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the quality by model version, and the confusion matrix of all of them."""
    by_version: dict[str, Confusion] = defaultdict(Confusion)
    confusion = Confusion()
    for group in groups:
        case = {name: group[name] for name in ("label", "review_status", "count")}
        by_version[group["model_version"]].add(**case)
        confusion.add(**case)
    return {"quality": sorted(by_version.items()), "confusion": confusion}
