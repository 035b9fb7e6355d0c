from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from detection.api.serializers import PredictionResultSerializer
from detection.api.uploads import check_request, single_image
from detection.models import Source
from detection.services import predict_image


class PredictView(APIView):
    """Tells whether one image is a real photograph or made by a generator."""

    parser_classes = [MultiPartParser]

    class InputSerializer(serializers.Serializer):
        image = serializers.ImageField()

    @extend_schema(request=InputSerializer, responses=PredictionResultSerializer)
    def post(self, request: Request) -> Response:
        check_request(request)
        prediction = predict_image(upload=single_image(request), source=Source.API)
        return Response(PredictionResultSerializer(prediction, context={"request": request}).data)
