from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from detection.api import schema
from detection.api.fields import FlagField, ScoreField
from detection.api.parameters import single_values
from detection.api.serializers import PredictionResultSerializer
from detection.judging import predict_image
from detection.models import Source
from detection.web import PredictThrottle, admits_images, check_form, single_image


@extend_schema_field(OpenApiTypes.BINARY)
class ImageFileField(serializers.FileField):
    """A file; what it holds is told by the engine."""


class OptionsSerializer(serializers.Serializer):
    """Form fields beside the images."""

    threshold = ScoreField(
        required=False, help_text="Call it FAKE above this score; default: the checkpoint's"
    )
    store = FlagField(
        default=True, help_text="false: the verdict only; no record and no file is kept"
    )

    @classmethod
    def read(cls, request: Request) -> dict:
        """The options of a form; raises ValidationError naming those that are wrong."""
        serializer = cls(data=single_values(request.POST))
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data


class SingleOptionsSerializer(OptionsSerializer):
    """What may go with a single image."""

    explain = FlagField(default=False, help_text="true: draw where the evidence lies, too")

    def validate(self, options: dict) -> dict:
        if options["explain"] and not options["store"]:
            raise serializers.ValidationError(
                {"explain": "A heatmap is a file; with store=false none is kept."}
            )
        return options


class PredictViewSet(ViewSet):
    """Tells whether one image is a real photograph or made by a generator."""

    parser_classes = [MultiPartParser]
    throttle_classes = [PredictThrottle]

    class PredictFormSerializer(SingleOptionsSerializer):
        image = ImageFileField(
            help_text="JPEG, PNG, GIF (first frame), BMP, WebP, TIFF (first page), AVIF or HEIC; "
            "told by its content"
        )

    @extend_schema(
        operation_id="predict",
        summary="Judge one image",
        request={"multipart/form-data": PredictFormSerializer},
        responses={
            200: OpenApiResponse(
                PredictionResultSerializer,
                "The verdict",
                examples=[schema.example("verdict", schema.PREDICTION)],
            ),
            **schema.errors(*schema.SENDING_ERRORS),
        },
    )
    @admits_images
    def create(self, request: Request) -> Response:
        check_form(request, images=1)
        upload, options = single_image(request), SingleOptionsSerializer.read(request)
        prediction = predict_image(
            upload=upload,
            source=Source.API,
            owner=request.user if request.user.is_authenticated else None,
            **options,
        )
        return Response(PredictionResultSerializer(prediction, context={"request": request}).data)
