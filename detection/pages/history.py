"""The history, and the page of one record."""

from __future__ import annotations

from django.db.models import Q
from django.shortcuts import get_object_or_404
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from detection.api import CursorField, newest_first, validated
from detection.models import Label, Prediction
from detection.pages.cards import UNCERTAIN, card_of, cards_of
from detection.pages.page_view import PageView
from detection.records import visible_predictions

PAGE_SIZE = 20
VERDICTS = [
    (Label.FAKE.value, "Made by a generator"),
    (Label.REAL.value, "Real photograph"),
    (UNCERTAIN, "Not certain"),
]


class FilterSerializer(serializers.Serializer):
    """The form above the history. It ignores unknown parameters."""

    verdict = serializers.ChoiceField(VERDICTS, required=False, allow_blank=True)
    search = serializers.CharField(required=False, allow_blank=True, max_length=200)
    cursor = CursorField(required=False)


class HistoryView(PageView):
    def get(self, request: Request) -> Response:
        query = validated(FilterSerializer, request.query_params)
        found = visible_predictions(request.user)
        if verdict := query.get("verdict"):
            found = found.filter(_says(verdict))
        page = newest_first(
            found,
            request,
            size=PAGE_SIZE,
            cursor=query.get("cursor"),
            name=query.get("search", ""),
        )
        return self.page(
            "pages/history.html",
            cards=cards_of(page["predictions"]),
            older=page["next"],
            newer=page["previous"],
            searched_to=page["searched_to"],
            verdicts=VERDICTS,
            query=query,
        )


class RecordView(PageView):
    def get(self, request: Request, pk: str) -> Response:
        visible = visible_predictions(request.user).prefetch_related("reviewer")
        card = card_of(get_object_or_404(visible, pk=pk), request.user)
        return self.page("pages/record.html", card=card)


def _says(verdict: str) -> Q:
    """Match records that show this verdict: the reviewer's, else the model's."""
    unreviewed, confirmed, overturned = Prediction.Review.values
    if verdict == UNCERTAIN:
        return Q(uncertain=True, review_status=unreviewed)
    [opposite] = set(Label.values) - {verdict}
    # Exclude the other verdicts: for an OR of the wanted ones, SQLite reads all records and sorts.
    return (
        ~Q(label=opposite, review_status__in=[unreviewed, confirmed])
        & ~Q(label=verdict, review_status=overturned)
        & ~Q(uncertain=True, review_status=unreviewed)
    )
