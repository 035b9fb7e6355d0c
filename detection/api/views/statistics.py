from __future__ import annotations

from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from detection.api import schema
from detection.api.serializers import StatisticsSerializer
from detection.selectors import count_predictions


class StatisticsViewSet(ViewSet):
    """Usage figures over all the predictions that the caller may see."""

    @extend_schema(
        operation_id="statistics",
        summary="Usage figures",
        responses={
            200: OpenApiResponse(
                forced_singular_serializer(StatisticsSerializer),
                "The figures",
                examples=[schema.example("statistics", schema.STATISTICS)],
            ),
            **schema.errors(401, 429, 500, 503),
        },
    )
    def list(self, request: Request) -> Response:
        return Response(StatisticsSerializer(count_predictions(user=request.user)).data)
