"""Actions on the ticked predictions of a list, of one page at most."""

from __future__ import annotations

import re
from collections import Counter

from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.actions import delete_selected as ask_before_deleting
from django.contrib.admin.models import DELETION
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize

from detection.admin.decision_log import decide_and_log, log_decision
from detection.admin.export import csv_of
from detection.d3.errors import D3Error
from detection.errors import UnavailableError
from detection.judging import Rejudged, rejudge
from detection.models import Prediction
from detection.records import delete_with_files
from detection.review import ReviewError

UNSEEN = -1  # no record has this revision: decisions on it are stale

Review = Prediction.Review
Ticked = QuerySet[Prediction]


@admin.action(permissions=["review"], description="Confirm the model's label")
def confirm(model_admin: ModelAdmin, request: HttpRequest, ticked: Ticked) -> None:
    _decide(request, ticked, Review.CONFIRMED)


@admin.action(permissions=["review"], description="Overturn the model's label")
def overturn(model_admin: ModelAdmin, request: HttpRequest, ticked: Ticked) -> None:
    _decide(request, ticked, Review.OVERTURNED)


def _decide(request: HttpRequest, ticked: Ticked, status: Review) -> None:
    decided, seen = 0, _revisions_seen(request)
    for prediction in ticked:
        try:
            decide_and_log(
                prediction=prediction,
                status=status,
                reviewer=request.user,
                revision=seen.get(prediction.pk, UNSEEN),
                note=prediction.review_note,
            )
        except ReviewError as error:
            messages.error(request, f"{prediction.original_filename}: {error}")
        else:
            decided += 1
    if decided:
        messages.success(request, f"{_counted(decided)} {status}.")


def _revisions_seen(request: HttpRequest) -> dict[str, int]:
    """Return revisions by id, as of the list: decisions on records that changed are refused."""
    entries = (entry.partition(":") for entry in request.POST.get("revisions", "").split())
    return {
        pk: int(revision) for pk, _, revision in entries if re.fullmatch("[0-9]{1,10}", revision)
    }


@admin.action(permissions=["delete"], description="Delete with files")
def delete_selected(
    model_admin: ModelAdmin, request: HttpRequest, ticked: Ticked
) -> HttpResponse | None:
    """Replace Django's own action of this name. Django's page still asks first."""
    if not request.POST.get("post"):
        return ask_before_deleting(model_admin, request, ticked)
    deleted = 0
    for prediction in ticked:
        delete_with_files([prediction])
        sentence = "Deleted with its files."
        log_decision(user=request.user, prediction=prediction, sentence=sentence, flag=DELETION)
        deleted += 1
    messages.success(request, f"{_counted(deleted)} deleted with files.")
    return None


@admin.action(permissions=["rejudge"], description="Judge again with the current model")
def judge_again(model_admin: ModelAdmin, request: HttpRequest, ticked: Ticked) -> None:
    predictions = list(ticked)
    results: Counter[bool] = Counter()
    try:
        for result in rejudge(predictions=predictions):
            results[result.verdict is not None] += 1
            _note(request, result)
    except (UnavailableError, D3Error) as error:
        messages.error(request, f"{error} Earlier verdicts of this action are stored.")
    else:
        if left_out := len(predictions) - results.total():
            messages.info(request, f"{_counted(left_out)} skipped: already judged by this model.")
    if judged := results[True]:
        messages.success(request, f"{_counted(judged)} judged again.")


def _note(request: HttpRequest, result: Rejudged) -> None:
    if result.verdict is None:
        messages.error(request, f"{result.prediction.original_filename}: {result.problem}")
        return
    verdict = result.verdict
    sentence = f"Judged again: {verdict.label} by {verdict.model_version}, as {verdict.pk}."
    log_decision(user=request.user, prediction=result.prediction, sentence=sentence)


@admin.action(permissions=["view"], description="Export CSV")
def export_csv(model_admin: ModelAdmin, request: HttpRequest, ticked: Ticked) -> HttpResponse:
    return csv_of(list(ticked))


def _counted(number: int) -> str:
    return f"{number} prediction{pluralize(number)}"
