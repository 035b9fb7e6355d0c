"""Show and delete stored predictions: the history, single records, heatmaps."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse, Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from detection.api import schema
from detection.api.fields import FlagField, RecordIdField, ScoreField
from detection.api.pagination import DEFAULT_LIMIT, MAX_LIMIT, CursorField, newest_first
from detection.api.parameters import PeriodQuerySerializer, validated
from detection.api.permissions import MayDelete
from detection.api.serializers import (
    FileProvenanceSerializer,
    HistorySerializer,
    SimilarSerializer,
    StoredPredictionSerializer,
)
from detection.judging import inspect_upload, open_heatmap
from detection.models import RECORD_ID, Label, Prediction
from detection.records import (
    delete_with_files,
    lookalikes_of,
    read_original,
    sent_between,
    visible_predictions,
)
from detection.web import PredictThrottle, gate

HEATMAP_SECONDS = 3600  # in a browser's cache
LOOKUPS = {
    "label": "label",
    "review_status": "review_status",
    "declares": "declares",
    "min_score": "fake_score__gte",
    "max_score": "fake_score__lte",
    "batch": "batch",
}
ID_PARAMETER = schema.id_parameter("id", "Id of the prediction")


class UppercaseChoiceField(serializers.ChoiceField):
    def to_internal_value(self, data: str) -> str:
        return super().to_internal_value(str(data).upper())


class HistoryQuerySerializer(PeriodQuerySerializer):
    """Filters of the history, and the page."""

    label = UppercaseChoiceField(Label.choices, required=False, help_text="The model's label")
    review_status = serializers.ChoiceField(
        Prediction.Review.choices, required=False, help_text="What a reviewer decided"
    )
    uncertain = FlagField(
        required=False, help_text="true: only predictions that a person should check"
    )
    declares = serializers.ChoiceField(
        Prediction.Declares.choices, required=False, help_text="What the file says of its origin"
    )
    min_score = ScoreField(required=False, help_text="Lowest fake score, 0 to 1")
    max_score = ScoreField(required=False, help_text="Highest fake score, 0 to 1")
    batch = RecordIdField(required=False, help_text="Id of a batch")
    search = serializers.CharField(
        required=False, max_length=200, help_text="Part of the file name, in upper or lower case"
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
        help_text="Another name for page_size",
    )


class PredictionViewSet(ViewSet):
    """Stored predictions that the caller may see."""

    permission_classes = [MayDelete]
    lookup_value_regex = RECORD_ID

    @extend_schema(
        operation_id="predictions_list",
        summary="History, newest first",
        parameters=[HistoryQuerySerializer],
        responses={
            200: schema.answer(
                forced_singular_serializer(HistorySerializer), "One page", {"page": schema.PAGE}
            ),
            **schema.errors(*schema.READING_ERRORS),
        },
    )
    def list(self, request: Request, label: str | None = None) -> Response:
        given = {} if label is None else {"label": label}
        query = validated(HistoryQuerySerializer, request.query_params, **given)
        page = newest_first(
            _matching(request, query),
            request,
            size=query.get("page_size") or query.get("limit") or DEFAULT_LIMIT,
            cursor=query.get("cursor"),
            name=query.get("search", ""),
        )
        return Response(HistorySerializer(page, context={"request": request}).data)

    @extend_schema(
        operation_id="predictions_retrieve",
        summary="One stored prediction",
        parameters=[ID_PARAMETER],
        responses={
            200: schema.answer(
                StoredPredictionSerializer,
                "The record, with new links to its files",
                {"record": schema.STORED},
            ),
            **schema.errors(*schema.RECORD_ERRORS),
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
            204: OpenApiResponse(description="The record and its files are deleted"),
            **schema.errors(*schema.RECORD_ERRORS, 403),
        },
    )
    def destroy(self, request: Request, pk: str) -> Response:
        delete_with_files([self._find(pk)])
        return Response(status=204)

    @extend_schema(
        operation_id="predictions_heatmap",
        summary="Picture of the evidence",
        description="The image in grey, at its own size: orange where it looks generated, blue "
        "where it looks real; a stronger colour is stronger evidence. The first request draws the "
        "picture, which takes as long as a few verdicts.",
        parameters=[ID_PARAMETER],
        responses={
            (200, "image/jpeg"): OpenApiResponse(OpenApiTypes.BINARY, "The heatmap"),
            **schema.errors(*schema.RECORD_ERRORS, 400, 409),
        },
    )
    @action(detail=True)
    def heatmap(self, request: Request, pk: str) -> FileResponse:
        prediction = self._find(pk)
        is_drawn = bool(prediction.heatmap_image)
        if not is_drawn:  # drawing is as expensive as judging
            self._count_as_image()
        try:
            with nullcontext() if is_drawn else gate.place():
                picture = open_heatmap(prediction=prediction)
        except Prediction.DoesNotExist as error:  # deleted while it was drawn
            raise Http404 from error
        return FileResponse(
            picture,
            content_type="image/jpeg",
            headers={"Cache-Control": f"private, max-age={HEATMAP_SECONDS}"},
        )

    @extend_schema(
        operation_id="predictions_similar",
        summary="Similar pictures",
        description="The other predictions that you may see on pictures that look the same: saved "
        "again, reduced, grey, mirrored or slightly cropped.",
        parameters=[ID_PARAMETER],
        responses={
            200: schema.answer(
                SimilarSerializer,
                "The nearest first",
                {"similar": {"success": True, "similar": [schema.SIMILAR]}},
            ),
            **schema.errors(*schema.RECORD_ERRORS),
        },
    )
    @action(detail=True)
    def similar(self, request: Request, pk: str) -> Response:
        found = lookalikes_of(self._find(pk), user=request.user)
        return Response(SimilarSerializer({"similar": found}).data)

    @extend_schema(
        operation_id="predictions_provenance",
        summary="What the file says of its origin, with whole prompts",
        description="The service reads the stored original again, since a record has the first 300 "
        "characters of a prompt only. The request counts as one image.",
        parameters=[ID_PARAMETER],
        responses={
            200: schema.answer(
                FileProvenanceSerializer,
                "All statements of the file",
                {"provenance": {"success": True, **schema.PROVENANCE}},
            ),
            **schema.errors(*schema.RECORD_ERRORS),
        },
    )
    @action(detail=True)
    def provenance(self, request: Request, pk: str) -> Response:
        prediction = self._find(pk)
        self._count_as_image()  # reads the whole original
        with gate.place():
            found = inspect_upload(read_original(prediction), whole_prompts=True)
        shown = found.as_dict() | {"contradicts_label": prediction.disputed}
        return Response(FileProvenanceSerializer(shown).data)

    def _count_as_image(self) -> None:
        """Count the request as an image. Raises Throttled if the caller's rate is used up."""
        self.throttle_classes = [PredictThrottle]
        self.check_throttles(self.request)

    def _find(self, pk: str) -> Prediction:
        prediction = get_object_or_404(visible_predictions(self.request.user), pk=pk)
        self.check_object_permissions(self.request, prediction)
        return prediction


def _matching(request: Request, query: dict[str, Any]) -> QuerySet[Prediction]:
    filters = {lookup: query[name] for name, lookup in LOOKUPS.items() if name in query}
    if "uncertain" in query:  # in a list: for a boolean alone SQLite uses no index
        filters["uncertain__in"] = [query["uncertain"]]
    found = visible_predictions(request.user).filter(**filters).prefetch_related("reviewer")
    return sent_between(found, start=query.get("from"), end=query.get("to"))
