"""Judge one image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from detection.api import schema
from detection.api.fields import FlagField, ScoreField
from detection.api.parameters import validated
from detection.api.serializers import PredictionResultSerializer
from detection.d3.images import MAX_JUDGED_FRAMES
from detection.judging import predict_image
from detection.models import MAX_URL_LENGTH, Prediction, Source
from detection.web import PredictThrottle, admits_images, check_form, image_or_url, owner_of


@extend_schema_field(OpenApiTypes.BINARY)
class ImageFileField(serializers.FileField):
    """An uploaded file. The engine detects its type."""


class OptionsSerializer(serializers.Serializer):
    """Form fields beside the images."""

    repeatable = ""  # a field of the form that may be sent several times
    threshold = ScoreField(
        required=False, help_text="Scores above it are labelled FAKE; default: the checkpoint's"
    )
    store = FlagField(
        default=True, help_text="false: return the verdict, store no record and no file"
    )
    frames = serializers.ChoiceField(
        ["first", "all"],
        default="first",
        help_text=f"all: judge frames or pages, evenly spread and at most {MAX_JUDGED_FRAMES}; the "
        "highest score counts",
    )

    @classmethod
    def read(cls, request: Request) -> dict:
        """Return the options of a form. Raises ValidationError, which names the invalid options."""
        options = validated(cls, request.POST, repeatable=cls.repeatable)
        options["all_frames"] = options.pop("frames") == "all"
        return options


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


@contextmanager
def counted_frames(
    request: Request, *, images: int, all_frames: bool
) -> Iterator[list[Prediction]]:
    """Count all frames that may be judged, before the work, and reserve room for them. Yield a list
    to which the caller adds the predictions. Afterwards release the frames that were not judged.

    Raises Throttled, QueueFullError.
    """
    judged: list[Prediction] = []
    further = images * (MAX_JUDGED_FRAMES - 1) if all_frames else 0
    if further:
        request.place.hold_images(images + further)
    request.throttle.count(further)
    try:
        yield judged
    finally:
        request.throttle.release(further - sum(each.judged_frames - 1 for each in judged))


class PredictViewSet(ViewSet):
    """Judge whether an image is a real photograph or made by a generator."""

    parser_classes = [MultiPartParser]
    throttle_classes = [PredictThrottle]

    class PredictFormSerializer(SingleOptionsSerializer):
        image = ImageFileField(
            required=False,
            help_text="JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF or HEIC; the content decides, not the "
            "name",
        )
        image_url = serializers.CharField(
            default="",
            max_length=MAX_URL_LENGTH,
            help_text="Instead of image, where the service allows it: an https URL, for example "
            "https://images.example.org/2026/test.jpg",
        )

    @extend_schema(
        operation_id="predict",
        summary="Judge one image",
        request={"multipart/form-data": PredictFormSerializer},
        responses={
            200: schema.answer(
                PredictionResultSerializer,
                "The verdict",
                {"verdict": schema.PREDICTION, "verdict on an image by URL": schema.FETCHED},
            ),
            **schema.errors(*schema.SENDING_ERRORS),
        },
    )
    @admits_images
    def create(self, request: Request) -> Response:
        check_form(request, images=1)
        options = SingleOptionsSerializer.read(request)
        if options["explain"]:  # drawing is as expensive as judging
            request.throttle.count(1)
        upload = image_or_url(request)
        with counted_frames(request, images=1, all_frames=options["all_frames"]) as judged:
            prediction = predict_image(
                upload=upload,
                source=Source.API,
                owner=owner_of(request),
                **options,
            )
            judged.append(prediction)
        return Response(PredictionResultSerializer(prediction, context={"request": request}).data)
