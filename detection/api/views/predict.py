"""One image: its verdict, and its record."""

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
    """A file. The engine detects its type."""


class OptionsSerializer(serializers.Serializer):
    """Form fields beside the images."""

    threshold = ScoreField(
        required=False, help_text="Scores above it are labelled FAKE; default: the checkpoint's"
    )
    store = FlagField(
        default=True, help_text="false: return the verdict, store no record and no file"
    )

    @classmethod
    def read(cls, request: Request) -> dict:
        """Return the options of a form. Raises ValidationError, which names the invalid options."""
        serializer = cls(data=single_values(request.POST))
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data


class SingleOptionsSerializer(OptionsSerializer):
    """Form fields beside a single image."""

    explain = FlagField(
        default=False,
        help_text="true: also draw a picture of the evidence; the request counts as two images",
    )

    def validate(self, options: dict) -> dict:
        if options["explain"] and not options["store"]:
            raise serializers.ValidationError(
                {"explain": "A heatmap is stored; leave out store=false."}
            )
        return options


class PredictViewSet(ViewSet):
    """Judge whether an image is a real photograph or made by a generator."""

    parser_classes = [MultiPartParser]
    throttle_classes = [PredictThrottle]

    class PredictFormSerializer(SingleOptionsSerializer):
        image = ImageFileField(
            help_text="JPEG, PNG, GIF (first frame), BMP, WebP, TIFF (first page), AVIF or HEIC; "
            "the content decides, not the name"
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
        if options["explain"]:  # drawing is as expensive as judging
            request.throttle.count(1)
        prediction = predict_image(
            upload=upload,
            source=Source.API,
            owner=request.user if request.user.is_authenticated else None,
            **options,
        )
        return Response(PredictionResultSerializer(prediction, context={"request": request}).data)
