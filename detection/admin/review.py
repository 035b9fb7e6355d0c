"""The review screen shows one prediction after the other, the least certain first.

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
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET, require_http_methods

from detection.admin import cells
from detection.admin.decision_log import decide_and_log
from detection.admin.lookalikes import decide_lookalikes, undo_lookalikes
from detection.admin.review_session import LastDecision, ReviewSession
from detection.errors import database_errors
from detection.judging import frames_in_words, percentage, picture_place
from detection.models import Label, Prediction
from detection.records import lookalikes_of, same_bytes
from detection.review import StaleDecisionError, claim, claim_next, count_waiting, pass_over

PERMISSION = "detection.review_prediction"
MAX_COUNTED = 100  # predictions in the queue: counting all of a long queue is slow
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
        """Count a line end as one character, as browsers do."""
        return super().to_python(value).replace("\r\n", "\n")


class DecisionForm(forms.Form):
    decision = forms.ChoiceField(
        choices=[(each, each) for each in (*Decision.STATUSES, Decision.SKIP)]
    )
    revision = forms.IntegerField(min_value=0, max_value=2**31 - 2)
    note = NoteField(required=False, max_length=2000)
    alike = forms.BooleanField(required=False)

    @property
    def complaint(self) -> str:
        """Return one sentence about the first error."""
        field, [error, *_] = next(iter(self.errors.items()))
        return f"{self[field].label}: {error}"


def moderators_only(view: View) -> View:
    """Make the view a page of the admin for users who may review, and a notice for others."""

    @wraps(view)
    def allowed(request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponse:
        if request.user.has_perm(PERMISSION):
            return view(request, *arguments, **options)
        return _notice(
            request, "Only moderators can review", "Ask an administrator for the permission.", 403
        )

    return admin.site.admin_view(allowed)


@moderators_only
@require_GET
def review_next(request: HttpRequest) -> HttpResponse:
    """Open the least certain prediction that no other moderator has open."""
    session = ReviewSession(request.session)
    if "again" in request.GET:
        session.clear_skipped()
    prediction = claim_next(reviewer=request.user, skipped=session.skipped)
    if prediction:
        return redirect("review", prediction.pk)
    sentence = "Every prediction is reviewed, or another moderator has it open."
    return _notice(
        request, "The queue is empty", sentence, last=session.last, skipped=session.skipped
    )


@moderators_only
@require_http_methods(["GET", "POST"])
def review(request: HttpRequest, pk: str) -> HttpResponse:
    """Show one prediction, reserved for the moderator who opens it, and carry out the decision."""
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
    request: HttpRequest,
    prediction: Prediction,
    *,
    decision: str,
    revision: int,
    note: str,
    alike: bool,
) -> HttpResponse:
    """Write the decision; with ``alike``, on the unreviewed look-alikes too. Raises
    StaleDecisionError.
    """
    session = ReviewSession(request.session)
    if decision == Decision.SKIP:
        _skip(request, prediction, note)
        session.skip(prediction.pk)
        return redirect("review-next")
    is_undo = decision == Decision.UNDO
    if is_undo and not prediction.is_reviewed:
        raise StaleDecisionError("This prediction has no decision that could be undone.")
    decide_and_log(
        prediction=prediction,
        status=Decision.STATUSES[decision],
        reviewer=request.user,
        revision=revision,
        note=prediction.review_note if is_undo else note,
    )
    if is_undo:
        _undo_alike(request, prediction, session)
        session.cannot_undo(prediction.pk)
        messages.info(request, "Undone; this prediction is open again.")
        return redirect("review", prediction.pk)
    words, decided = _decided_words(prediction), []
    if alike:
        decided = decide_lookalikes(prediction, request.user)
        words = f"{words}, with {len(decided)} look-alike{pluralize(len(decided))}"
    session.decided(LastDecision(prediction.pk, prediction.review_revision, words, decided))
    return redirect("review-next")


def _undo_alike(request: HttpRequest, prediction: Prediction, session: ReviewSession) -> None:
    last = session.last
    if last and last.pk == prediction.pk and last.alike:
        undone = undo_lookalikes(last.alike, request.user)
        messages.info(request, f"Undone for {undone} look-alike{pluralize(undone)} too.")


def _skip(request: HttpRequest, prediction: Prediction, note: str) -> None:
    if not prediction.is_reviewed:
        pass_over(prediction=prediction, reviewer=request.user, note=note)
    messages.info(request, f"Skipped {prediction.original_filename}; it is still in the queue.")


def _decided_words(prediction: Prediction) -> str:
    """``Overturned to REAL: holiday.jpg``"""
    verdict = "Overturned to" if prediction.is_overturned else "Confirmed as"
    return f"{verdict} {prediction.label_in_force}: {prediction.original_filename}"


def _page(
    request: HttpRequest,
    prediction: Prediction,
    *,
    problem: str = "",
    note: str | None = None,
    status: int = 200,
) -> HttpResponse:
    obstacle = _claim(request, prediction)
    session = ReviewSession(request.session)
    session.visit(prediction.pk)
    last = session.last
    with database_errors():
        lookalikes = lookalikes_of(prediction, user=request.user)
    context = {
        "title": prediction.original_filename,
        "prediction": prediction,
        "shown_in_browsers": prediction.image_format in SHOWN_BY_BROWSERS,
        "place": picture_place(prediction.width, prediction.height),
        "verdict": cells.verdict(prediction),
        "score": cells.score(prediction),
        "frames": frames_in_words(prediction),
        "threshold": percentage(prediction.threshold),
        "other_label": Label.REAL if prediction.is_fake else Label.FAKE,
        "same_bytes": [(each, cells.verdict(each)) for each in same_bytes(prediction)],
        "lookalikes": [
            (each, cells.verdict(each.prediction))
            for each in lookalikes
            if each.prediction.sha256 != prediction.sha256
        ],
        "open_lookalikes": sum(not each.prediction.is_reviewed for each in lookalikes),
        "queue_length": _queue_length(),
        "problem": problem,
        "obstacle": obstacle if obstacle != problem else "",
        "may_decide": not obstacle,
        "note": prediction.review_note if note is None else note,
        "previous": session.previous(prediction.pk),
        "following": session.following(prediction.pk),
        "last": last if last and last.pk != prediction.pk else None,
    }
    return _response(request, "admin/review.html", context, status)


def _claim(request: HttpRequest, prediction: Prediction) -> str:
    """Reserve an open prediction for this moderator. Return why that failed, in a sentence; empty
    if the moderator may decide.
    """
    if prediction.is_reviewed:
        return ""
    try:
        claim(prediction=prediction, reviewer=request.user)
    except StaleDecisionError as error:
        return str(error)
    return ""


def _queue_length() -> str:
    waiting = count_waiting(most=MAX_COUNTED + 1)
    if waiting > MAX_COUNTED:
        return f"More than {MAX_COUNTED} in the queue"
    return f"{waiting} in the queue"


def _gone(request: HttpRequest, pk: str) -> HttpResponse:
    session = ReviewSession(request.session)
    session.forget(pk)
    sentence = "It was deleted, or the address is wrong."
    return _notice(request, "There is no such prediction", sentence, 404, last=session.last)


def _notice(
    request: HttpRequest, title: str, sentence: str, status: int = 200, **context: object
) -> HttpResponse:
    context = {"title": title, "sentence": sentence, **context}
    return _response(request, "admin/review_notice.html", context, status)


def _response(
    request: HttpRequest, template: str, context: dict[str, Any], status: int
) -> HttpResponse:
    """Render without the admin's sidebar: pictures side by side need the width."""
    context = admin.site.each_context(request) | {"is_nav_sidebar_enabled": False} | context
    return TemplateResponse(request, template, context, status=status)
