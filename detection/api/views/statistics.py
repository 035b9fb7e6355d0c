"""Usage figures."""

from __future__ import annotations

from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from detection.api import schema
from detection.api.parameters import PeriodQuerySerializer, validated
from detection.api.serializers import StatisticsSerializer
from detection.statistics import (
    DEFAULT_DAYS,
    MAX_DAYS,
    count_predictions,
    count_predictions_by_day,
)


class StatisticsQuerySerializer(PeriodQuerySerializer):
    """Which predictions are counted, and whether by day."""

    interval = serializers.ChoiceField(
        ["day"],
        required=False,
        help_text=f"Add the figures of each day, for at most {MAX_DAYS} days; without from and to, "
        f"for the last {DEFAULT_DAYS} days",
    )


class StatisticsViewSet(ViewSet):
    """Usage figures of all predictions that the caller may see."""

    @extend_schema(
        operation_id="statistics",
        summary="Usage figures",
        parameters=[StatisticsQuerySerializer],
        responses={
            200: schema.answer(
                forced_singular_serializer(StatisticsSerializer),
                "The figures",
                {"statistics": schema.STATISTICS, "by day": schema.STATISTICS_OF_A_DAY},
            ),
            **schema.errors(*schema.READING_ERRORS),
        },
    )
    def list(self, request: Request) -> Response:
        query = validated(StatisticsQuerySerializer, request.query_params)
        count = count_predictions_by_day if "interval" in query else count_predictions
        figures = count(user=request.user, start=query.get("from"), end=query.get("to"))
        return Response(StatisticsSerializer(figures).data)
