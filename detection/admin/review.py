"""The review screen: one prediction after the other, the least certain first.

Each page is a form that works without JavaScript; its script adds keys, zoom and the evidence map.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET, require_http_methods

from detection.admin import cells
from detection.admin.decisions import decide_and_log, undo_and_log
from detection.admin.review_session import LastDecision, ReviewSession
from detection.errors import database_errors
from detection.judging import percentage, picture_place
from detection.models import Label, Prediction
from detection.records import same_bytes
from detection.review import Decided, StaleDecisionError
from detection.review import decisions as service

PERMISSION = "detection.review_prediction"
MAX_COUNTED = 100  # of what waits: a full count of a long queue takes long
SHOWN_BY_BROWSERS = {"JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP"}

View = Callable[..., HttpResponse]


class Decision:
    CONFIRM, OVERTURN, SKIP, UNDO = "confirm", "overturn", "skip", "undo"
    STATUSES = {
        CONFIRM: Prediction.Review.CONFIRMED,
        OVERTURN: Prediction.Review.OVERTURNED,
        UNDO: Prediction.Review.UNREVIEWED,
    }


class NoteField(forms.CharField):
    def to_python(self, value: Any) -> str:
        """Line ends count as one character, as in the browser."""
        return super().to_python(value).replace("\r\n", "\n")


class DecisionForm(forms.Form):
    decision = forms.ChoiceField(
        choices=[(each, each) for each in (*Decision.STATUSES, Decision.SKIP)]
    )
    revision = forms.IntegerField(min_value=0, max_value=2**31 - 2)
    note = NoteField(required=False, max_length=2000)

    @property
    def complaint(self) -> str:
        """One sentence for the first thing that is wrong."""
        field, [error, *_] = next(iter(self.errors.items()))
        return f"{self[field].label}: {error}"


def moderators_only(view: View) -> View:
    """A page of the admin for those who may review; others are told so."""

    @wraps(view)
    def allowed(request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponse:
        if request.user.has_perm(PERMISSION):
            return view(request, *arguments, **options)
        return _notice(
            request, "Only moderators can review", "Ask an administrator to add you to them.", 403
        )

    return admin.site.admin_view(allowed)


@moderators_only
@require_GET
def review_next(request: HttpRequest) -> HttpResponse:
    """Opens the prediction that the model is least sure of and nobody else has."""
    remembered = ReviewSession(request.session)
    if "again" in request.GET:
        remembered.look_at_skipped_again()
    prediction = service.claim_next(reviewer=request.user, skipped=remembered.skipped)
    if prediction:
        return redirect("review", prediction.pk)
    sentence = "Each prediction has been reviewed, or another moderator is looking at it."
    return _notice(
        request, "Nothing is waiting", sentence, last=remembered.last, skipped=remembered.skipped
    )


@moderators_only
@require_http_methods(["GET", "POST"])
def review(request: HttpRequest, pk: str) -> HttpResponse:
    """Shows one prediction and keeps it for whoever looks at it; takes their decision."""
    prediction = _find(pk)
    if prediction is None:
        return _gone(request, pk)
    if request.method == "GET":
        return _page(request, prediction)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        note = request.POST.get("note", "")
        return _page(request, prediction, problem=form.complaint, note=note, status=400)
    try:
        return _carry_out(request, prediction, **form.cleaned_data)
    except StaleDecisionError as error:
        problem = str(error)
    if form.cleaned_data["decision"] == Decision.UNDO:
        ReviewSession(request.session).cannot_undo(pk)
    prediction = _find(pk)
    if prediction is None:
        return _gone(request, pk)
    note = form.cleaned_data["note"]
    return _page(request, prediction, problem=problem, note=note, status=409)


def _find(pk: str) -> Prediction | None:
    with database_errors():
        return Prediction.objects.filter(pk=pk).first()


def _carry_out(
    request: HttpRequest, prediction: Prediction, *, decision: str, revision: int, note: str
) -> HttpResponse:
    """Raises StaleDecisionError."""
    remembered = ReviewSession(request.session)
    if decision == Decision.SKIP:
        _skip(request, prediction, note)
        remembered.skip(prediction.pk)
        return redirect("review-next")
    if decision == Decision.UNDO:
        _undo(request, prediction, revision, remembered.before(prediction.pk, revision))
        remembered.cannot_undo(prediction.pk)
        return redirect("review", prediction.pk)
    before = _decided(prediction)
    decide_and_log(
        prediction=prediction,
        status=Decision.STATUSES[decision],
        reviewer=request.user,
        revision=revision,
        note=note,
    )
    words = _decided_words(prediction)
    remembered.decided(LastDecision.on(prediction, words=words, before=before))
    return redirect("review-next")


def _skip(request: HttpRequest, prediction: Prediction, note: str) -> None:
    if prediction.review_status == Prediction.Review.UNREVIEWED:
        service.pass_over(prediction=prediction, reviewer=request.user, note=note)
    messages.info(request, f"Skipped {prediction.original_filename}; it still waits.")


def _decided(prediction: Prediction) -> Decided | None:
    """The decision in force; None for an open record."""
    if prediction.review_status == Prediction.Review.UNREVIEWED:
        return None
    return Decided(
        status=prediction.review_status,
        reviewer_pk=str(prediction.reviewer_id or ""),
        reviewed_at=prediction.reviewed_at,
        note=prediction.review_note,
    )


def _undo(
    request: HttpRequest, prediction: Prediction, revision: int, before: Decided | None
) -> None:
    """What was decided before is in force again. Where nothing was, or nobody remembers, what was
    noted stays: the record is opened again with it.
    """
    if prediction.review_status == Prediction.Review.UNREVIEWED:
        raise StaleDecisionError("There is no decision to take back any more.")
    if before:
        undo_and_log(prediction=prediction, reviewer=request.user, revision=revision, before=before)
        messages.info(request, "Taken back; what was decided before is in force again.")
        return
    decide_and_log(
        prediction=prediction,
        status=Decision.STATUSES[Decision.UNDO],
        reviewer=request.user,
        revision=revision,
        note=prediction.review_note,
    )
    messages.info(request, "Taken back; decide again.")


def _decided_words(prediction: Prediction) -> str:
    """``Overturned to REAL: holiday.jpg``"""
    overturned = prediction.review_status == Prediction.Review.OVERTURNED
    verdict = f"{'Overturned to' if overturned else 'Confirmed as'} {prediction.label_in_force}"
    return f"{verdict}: {prediction.original_filename}"


def _page(
    request: HttpRequest,
    prediction: Prediction,
    *,
    problem: str = "",
    note: str | None = None,
    status: int = 200,
) -> HttpResponse:
    obstacle = _claim(request, prediction)
    remembered = ReviewSession(request.session)
    remembered.visit(prediction.pk)
    last = remembered.last
    context = {
        "title": prediction.original_filename,
        "prediction": prediction,
        "shown_in_browsers": prediction.image_format in SHOWN_BY_BROWSERS,
        "place": picture_place(prediction.width, prediction.height),
        "verdict": cells.verdict(prediction),
        "score": cells.score(prediction),
        "threshold": percentage(prediction.threshold),
        "other_label": Label.REAL if prediction.is_fake else Label.FAKE,
        "reviewed": prediction.review_status != Prediction.Review.UNREVIEWED,
        "same_bytes": [(each, cells.verdict(each)) for each in same_bytes(prediction)],
        "waiting": _waiting_words(),
        "problem": problem,
        "obstacle": obstacle if obstacle != problem else "",
        "may_decide": not obstacle,
        "note": prediction.review_note if note is None else note,
        "previous": remembered.previous(prediction.pk),
        "following": remembered.following(prediction.pk),
        "last": last if last and last.pk != prediction.pk else None,
    }
    return _response(request, "admin/review.html", context, status)


def _claim(request: HttpRequest, prediction: Prediction) -> str:
    """Why the prediction cannot be kept for this moderator, in a sentence; empty: it is, or need
    not be, as somebody has decided."""
    if prediction.review_status != Prediction.Review.UNREVIEWED:
        return ""
    try:
        service.claim(prediction=prediction, reviewer=request.user)
    except StaleDecisionError as error:
        return str(error)
    return ""


def _waiting_words() -> str:
    waiting = service.count_waiting(most=MAX_COUNTED + 1)
    if waiting > MAX_COUNTED:
        return f"More than {MAX_COUNTED} are waiting"
    return f"{waiting} {'is' if waiting == 1 else 'are'} waiting"


def _gone(request: HttpRequest, pk: str) -> HttpResponse:
    remembered = ReviewSession(request.session)
    remembered.forget(pk)
    sentence = "It has been deleted, or never was."
    return _notice(request, "There is no such prediction", sentence, 404, last=remembered.last)


def _notice(
    request: HttpRequest, title: str, sentence: str, status: int = 200, **context: object
) -> HttpResponse:
    context = {"title": title, "sentence": sentence, **context}
    return _response(request, "admin/review_notice.html", context, status)


def _response(
    request: HttpRequest, template: str, context: dict[str, Any], status: int
) -> HttpResponse:
    """Without the admin's sidebar: pictures side by side need the room."""
    context = admin.site.each_context(request) | {"is_nav_sidebar_enabled": False} | context
    return TemplateResponse(request, template, context, status=status)
