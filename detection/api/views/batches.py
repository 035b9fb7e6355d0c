from __future__ import annotations

from django.conf import settings
from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.viewsets import ViewSet

from detection.api import schema
from detection.api.fields import FlagField
from detection.api.serializers import MOST_RESULTS, BatchSerializer
from detection.api.throttling import PredictThrottle, ReadThrottle
from detection.api.uploads import check_form, several_images, takes_images
from detection.api.views.predict import ImageFileField, OptionsSerializer
from detection.batches import predict_batch, queue_batch
from detection.models import RECORD_ID, Prediction, PredictionBatch, Source
from detection.selectors import visible_batches

MOST = settings.MAX_BATCH_IMAGES


class BatchOptionsSerializer(OptionsSerializer):
    def get_fields(self) -> dict[str, serializers.Field]:
        later = FlagField(
            default=False, help_text="true: answer at once with a batch to ask for again"
        )
        return {**super().get_fields(), "async": later}  # a name that Python reserves

    def validate(self, options: dict) -> dict:
        if options["async"] and not options["store"]:
            raise serializers.ValidationError(
                {"store": "Without a record there is nothing to ask for later; leave async out."}
            )
        return options


class BatchViewSet(ViewSet):
    """Several images in one request. One bad file never sinks the others."""

    parser_classes = [MultiPartParser]
    lookup_value_regex = RECORD_ID
    lookup_url_kwarg = "batch_id"

    class BatchFormSerializer(BatchOptionsSerializer):
        images = serializers.ListField(
            child=ImageFileField(), min_length=1, max_length=MOST, help_text=f"1 to {MOST} files"
        )

    def get_throttles(self) -> list[BaseThrottle]:
        return [PredictThrottle() if self.action == "create" else ReadThrottle()]

    @extend_schema(
        operation_id="batch_create",
        summary=f"Judge up to {MOST} images",
        request={"multipart/form-data": BatchFormSerializer},
        responses={
            200: OpenApiResponse(
                BatchSerializer, "All results", examples=[schema.example("batch", schema.BATCH)]
            ),
            202: OpenApiResponse(
                BatchSerializer,
                "Accepted; ask for the batch at the address in Location",
                examples=[
                    schema.example(
                        "queued",
                        {
                            **schema.BATCH,
                            "status": "queued",
                            "successful": 0,
                            "failed": 0,
                            "finished_at": None,
                            "results": [],
                            "errors": None,
                        },
                        status=202,
                    )
                ],
            ),
            **schema.errors(*schema.SENDING_ERRORS),
        },
    )
    @takes_images
    def create(self, request: Request) -> Response:
        check_form(request, images=MOST)
        uploads, options = several_images(request), BatchOptionsSerializer.read(request)
        [throttle] = self.get_throttles()
        throttle.charge(request, self, len(uploads) - 1)
        later = options.pop("async")
        owner = request.user if request.user.is_authenticated else None
        if later:
            del options["store"]
            batch = queue_batch(uploads=uploads, source=Source.BATCH, owner=owner, **options)
            place = request.build_absolute_uri(reverse("batch-detail", args=[batch.pk]))
            return self._answer(batch, [], status=202, headers={"Location": place})
        request.place.hold_images(len(uploads))
        batch, outcomes = predict_batch(
            uploads=uploads, source=Source.BATCH, owner=owner, **options
        )
        predictions = []
        for index, outcome in enumerate(outcomes):
            if outcome.prediction:
                outcome.prediction.batch_index = index
                predictions.append(outcome.prediction)
        return self._answer(batch, predictions)

    @extend_schema(
        operation_id="batch_retrieve",
        summary="Progress and results of a batch",
        parameters=[
            OpenApiParameter(
                "batch_id",
                {"type": "string", "pattern": f"^{lookup_value_regex}$"},
                OpenApiParameter.PATH,
                description="As the batch was answered",
            )
        ],
        responses={
            200: OpenApiResponse(
                BatchSerializer,
                "The results so far",
                examples=[schema.example("batch", schema.BATCH)],
            ),
            **schema.errors(401, 404, 429, 500, 503),
        },
    )
    def retrieve(self, request: Request, batch_id: str) -> Response:
        batch = get_object_or_404(visible_batches(request.user), pk=batch_id)
        predictions = batch.predictions.order_by("batch_index").prefetch_related("reviewer")
        return self._answer(batch, list(predictions[:MOST_RESULTS]))

    def _answer(
        self, batch: PredictionBatch, predictions: list[Prediction], **response: object
    ) -> Response:
        context = {"request": self.request, "predictions": predictions}
        return Response(BatchSerializer(batch, context=context).data, **response)
