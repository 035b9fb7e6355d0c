"""Judge batches in the request, or queue them."""

from __future__ import annotations

from django.conf import settings
from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.viewsets import ViewSet

from detection.api import schema
from detection.api.fields import FlagField
from detection.api.parameters import validated
from detection.api.serializers import MAX_RESULTS, AcceptedBatchSerializer, BatchSerializer
from detection.api.views.predict import ImageFileField, OptionsSerializer, counted_frames
from detection.judging import Upload, predict_batch
from detection.models import MAX_URL_LENGTH, RECORD_ID, Prediction, PredictionBatch, Source
from detection.queue import append_to_batch, broker, queue_batch, refresh_counts
from detection.records import visible_batches
from detection.web import (
    PredictThrottle,
    ReadThrottle,
    admits_images,
    check_form,
    counted_images,
    counted_images_or_archive,
    has_images,
    owner_of,
)

MAX_IMAGES, MAX_QUEUED = settings.MAX_BATCH_IMAGES, settings.MAX_ASYNC_IMAGES
BATCH_ID = schema.id_parameter("batch_id", "Id of the batch")
ACCEPTED = schema.answer(
    AcceptedBatchSerializer,
    "Queued; Location is the address of the batch",
    {"queued": schema.QUEUED_BATCH},
    status=202,
)


class BatchOptionsSerializer(OptionsSerializer):
    repeatable = "image_url"

    def get_fields(self) -> dict[str, serializers.Field]:
        later = FlagField(default=False, help_text="true: queue the batch, and answer at once")
        more = FlagField(
            default=False,
            help_text="true: more images will be sent to /api/batches/{batch_id}/images/",
        )
        webhook_url = serializers.CharField(
            default="", help_text="https URL that receives a signed POST when the batch is done"
        )
        own = {"async": later, "more": more, "webhook_url": webhook_url}  # async is a keyword
        return super().get_fields() | own

    def validate(self, options: dict) -> dict:
        if options["async"] and not options["store"]:
            raise serializers.ValidationError(
                {"store": "A queued batch is stored; leave out async or store=false."}
            )
        for name in ("more", "webhook_url"):
            if options[name] and not options["async"]:
                raise serializers.ValidationError({name: "Send this with async=true only."})
        return options


class PartOptionsSerializer(serializers.Serializer):
    """Form fields beside the images of a later part."""

    more = FlagField(default=False, help_text="true: another part will be sent")


class ImageUrlsField(serializers.ListField):
    """URLs of images. A form repeats the field, once for each URL."""

    def __init__(self) -> None:
        super().__init__(
            child=serializers.CharField(max_length=MAX_URL_LENGTH),
            default=[],  # or Swagger UI would send an example
            max_length=MAX_IMAGES,
            help_text="Instead of images, where the service allows it: up to "
            f"{MAX_IMAGES} https URLs of images, which are fetched before the answer",
        )


class BatchViewSet(ViewSet):
    """A batch of several images. A bad file does not affect the others."""

    parser_classes = [MultiPartParser]
    lookup_value_regex = RECORD_ID
    lookup_url_kwarg = "batch_id"

    class BatchFormSerializer(BatchOptionsSerializer):
        images = serializers.ListField(
            child=ImageFileField(),
            min_length=1,
            max_length=MAX_QUEUED,
            required=False,
            help_text=f"1 to {MAX_IMAGES} files; up to {MAX_QUEUED} in a queued batch",
        )
        archive = ImageFileField(
            required=False,
            help_text="Instead of images, with async=true: a zip or a tar, compressed or not",
        )
        image_url = ImageUrlsField()

    class BatchPartFormSerializer(PartOptionsSerializer):
        images = serializers.ListField(
            child=ImageFileField(),
            required=False,
            max_length=MAX_QUEUED,
            help_text="More files; optional in the last part",
        )
        archive = ImageFileField(required=False, help_text="Instead of images")
        image_url = ImageUrlsField()

    def get_throttles(self) -> list[BaseThrottle]:
        is_sending = self.action in ("create", "append")
        return [PredictThrottle() if is_sending else ReadThrottle()]

    @extend_schema(
        operation_id="batch_create",
        summary=f"Judge up to {MAX_IMAGES} images, or queue up to {MAX_QUEUED}",
        request={"multipart/form-data": BatchFormSerializer},
        responses={
            200: schema.answer(BatchSerializer, "All results", {"batch": schema.BATCH}),
            202: ACCEPTED,
            **schema.errors(*schema.SENDING_ERRORS),
        },
    )
    @admits_images
    def create(self, request: Request) -> Response:
        check_form(request, images=MAX_QUEUED)
        options = BatchOptionsSerializer.read(request)
        is_queued = options.pop("async")
        of_queue = {name: options.pop(name) for name in ("more", "webhook_url")}
        options |= {"source": Source.BATCH, "owner": owner_of(request)}
        if is_queued or (broker.is_configured() and options["store"]):
            with counted_images_or_archive(request, most=MAX_QUEUED) as uploads:
                if is_queued or not isinstance(uploads, list) or len(uploads) > MAX_IMAGES:
                    del options["store"]
                    batch = queue_batch(uploads=uploads, **options, **of_queue)
                    return self._accepted(batch, is_new=True)
                return self._judged(uploads, options)
        with counted_images(request, most=MAX_IMAGES) as uploads:
            return self._judged(uploads, options)

    def _judged(self, uploads: list[Upload], options: dict) -> Response:
        self.request.place.hold_images(len(uploads))
        with counted_frames(
            self.request, images=len(uploads), all_frames=options["all_frames"]
        ) as judged:
            batch, outcomes = predict_batch(uploads=uploads, **options)
            for index, outcome in enumerate(outcomes):
                if outcome.prediction:
                    outcome.prediction.batch_index = index
                    judged.append(outcome.prediction)
        return self._answer(batch, judged)

    @extend_schema(
        operation_id="batch_append",
        summary="Send another part of a batch",
        parameters=[BATCH_ID],
        request={"multipart/form-data": BatchPartFormSerializer},
        responses={
            202: ACCEPTED,
            **schema.errors(*schema.SENDING_ERRORS, 404, 409),
        },
    )
    @action(detail=True, methods=["post"], url_path="images", url_name="images")
    @admits_images
    def append(self, request: Request, batch_id: str) -> Response:
        check_form(request, images=MAX_QUEUED)
        batch = get_object_or_404(visible_batches(request.user), pk=batch_id)
        if batch.owner_id != request.user.pk:
            raise PermissionDenied("Only the user who opened this batch can add images to it.")
        options = validated(PartOptionsSerializer, request.POST, repeatable="image_url")
        more = options["more"]
        if more or has_images(request):
            with counted_images_or_archive(request, most=MAX_QUEUED) as uploads:
                append_to_batch(batch=batch, uploads=uploads, more=more)
        else:
            append_to_batch(batch=batch, uploads=[])
        return self._accepted(batch, is_new=False)

    def _accepted(self, batch: PredictionBatch, *, is_new: bool) -> Response:
        place = self.request.build_absolute_uri(reverse("batch-detail", args=[batch.pk]))
        context = {"request": self.request, "predictions": [], "is_new": is_new}
        body = AcceptedBatchSerializer(batch, context=context).data
        return Response(body, status=202, headers={"Location": place})

    @extend_schema(
        operation_id="batch_retrieve",
        summary="Progress and results of a batch",
        parameters=[BATCH_ID],
        responses={
            200: schema.answer(BatchSerializer, "The results so far", {"batch": schema.BATCH}),
            **schema.errors(*schema.RECORD_ERRORS),
        },
    )
    def retrieve(self, request: Request, batch_id: str) -> Response:
        batch = get_object_or_404(visible_batches(request.user), pk=batch_id)
        refresh_counts(batch)
        predictions = batch.predictions.order_by("batch_index").prefetch_related("reviewer")
        return self._answer(batch, list(predictions[:MAX_RESULTS]))

    def _answer(self, batch: PredictionBatch, predictions: list[Prediction]) -> Response:
        context = {"request": self.request, "predictions": predictions}
        return Response(BatchSerializer(batch, context=context).data)
