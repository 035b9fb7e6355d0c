from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from detection.api import schema
from detection.api.fields import (
    FlagField,
    MomentField,
    RecordIdField,
    ScoreField,
    sent_once,
)
from detection.api.pagination import DEFAULT_LIMIT, MAX_LIMIT, CursorField, newest_first
from detection.api.permissions import MayDelete
from detection.api.serializers import HistorySerializer, StoredPredictionSerializer
from detection.models import RECORD_ID, Label, Prediction
from detection.selectors import visible_predictions
from detection.services import delete_prediction

LOOKUPS = {
    "label": "label",
    "review_status": "review_status",
    "uncertain": "uncertain",
    "min_score": "fake_score__gte",
    "max_score": "fake_score__lte",
    "from": "created_at__gte",
    "to": "created_at__lt",
    "batch": "batch",
    "search": "original_filename__icontains",
}
ID_PARAMETER = OpenApiParameter(
    "id",
    {"type": "string", "pattern": f"^{RECORD_ID}$"},
    OpenApiParameter.PATH,
    description="As the prediction was answered",
)


class UppercaseChoiceField(serializers.ChoiceField):
    def to_internal_value(self, data: str) -> str:
        return super().to_internal_value(str(data).upper())


class HistoryQuerySerializer(serializers.Serializer):
    """What the history is filtered by. Unknown parameters are refused: a filter that was spelled
    wrong would show everything."""

    label = UppercaseChoiceField(
        Label.choices, required=False, help_text="The label that the model gave"
    )
    review_status = serializers.ChoiceField(
        Prediction.Review.choices, required=False, help_text="What a reviewer decided"
    )
    uncertain = FlagField(required=False, help_text="true: only those that a person should look at")
    min_score = ScoreField(required=False, help_text="Lowest fake score, 0 to 1")
    max_score = ScoreField(required=False, help_text="Highest fake score, 0 to 1")
    batch = RecordIdField(required=False, help_text="Id of a batch")
    search = serializers.CharField(
        required=False, max_length=200, help_text="A part of the file name, in any case"
    )
    cursor = CursorField(required=False, help_text="From the next or previous link of a page")
    page_size = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_LIMIT,
        help_text=f"Predictions on a page; default {DEFAULT_LIMIT}",
    )
    limit = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_LIMIT,
        help_text="Another name of page_size",
    )

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = super().get_fields()
        # A name that Python reserves
        fields["from"] = MomentField(
            required=False, help_text="First day or moment: 2026-11-22 or 2026-11-22T12:00:00Z"
        )
        fields["to"] = MomentField(
            required=False,
            end_of_day=True,
            help_text="Last day (all of it), or the moment before which",
        )
        return fields

    def to_internal_value(self, data: dict[str, str]) -> dict[str, Any]:
        unknown = {
            name: ["There is no such parameter."] for name in data if name not in self.fields
        }
        if unknown:
            raise serializers.ValidationError(unknown)
        return super().to_internal_value(data)


class PredictionViewSet(ViewSet):
    """The history: every stored prediction that the caller may see."""

    permission_classes = [MayDelete]
    lookup_value_regex = RECORD_ID

    @extend_schema(
        operation_id="predictions_list",
        summary="History, newest first",
        parameters=[HistoryQuerySerializer],
        responses={
            200: OpenApiResponse(
                forced_singular_serializer(HistorySerializer),
                "One page",
                examples=[
                    schema.example(
                        "page",
                        {
                            "success": True,
                            "count": 1,
                            "next": None,
                            "previous": None,
                            "predictions": [schema.RECORD],
                        },
                    )
                ],
            ),
            **schema.errors(*schema.READING_ERRORS),
        },
    )
    def list(self, request: Request, label: str | None = None) -> Response:
        query = _query(request, label=label)
        page = newest_first(
            _matching(request, query),
            request,
            size=query.get("page_size") or query.get("limit") or DEFAULT_LIMIT,
            cursor=query.get("cursor"),
        )
        return Response(HistorySerializer(page, context={"request": request}).data)

    @extend_schema(
        operation_id="predictions_retrieve",
        summary="One stored prediction",
        parameters=[ID_PARAMETER],
        responses={
            200: OpenApiResponse(
                StoredPredictionSerializer,
                "The record, with new links to its files",
                examples=[schema.example("record", {"success": True, **schema.RECORD})],
            ),
            **schema.errors(401, 404, 429, 500, 503),
        },
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        record = StoredPredictionSerializer(self._find(pk), context={"request": request})
        return Response(record.data)

    @extend_schema(
        operation_id="predictions_destroy",
        summary="Delete a prediction and its files",
        parameters=[ID_PARAMETER],
        responses={
            204: OpenApiResponse(description="Record and files are gone"),
            **schema.errors(401, 403, 404, 429, 500, 503),
        },
    )
    def destroy(self, request: Request, pk: str) -> Response:
        delete_prediction(prediction=self._find(pk))
        return Response(status=204)

    def _find(self, pk: str) -> Prediction:
        prediction = get_object_or_404(visible_predictions(self.request.user), pk=pk)
        self.check_object_permissions(self.request, prediction)
        return prediction


def _query(request: Request, *, label: str | None) -> dict[str, Any]:
    """What was asked for; ``label`` comes from the path. Raises ValidationError."""
    given = sent_once(request.query_params)
    if label is not None:
        given["label"] = label
    serializer = HistoryQuerySerializer(data=given)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data


def _matching(request: Request, query: dict[str, Any]) -> QuerySet[Prediction]:
    filters = {lookup: query[name] for name, lookup in LOOKUPS.items() if name in query}
    return visible_predictions(request.user).filter(**filters).prefetch_related("reviewer")
