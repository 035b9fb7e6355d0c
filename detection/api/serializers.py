"""Serializers that turn records into the JSON of the API. Their context has the request and, for a
batch, its predictions.
"""

from __future__ import annotations

from django.urls import reverse
from django.utils.http import urlencode
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.utils.serializer_helpers import ReturnDict

from detection.api.fields import ScoreField, TextOrNullField
from detection.api.origin import ProvenanceSerializer, WithProvenance
from detection.judging import detector_info, meaning_of
from detection.models import Label, Prediction, PredictionBatch, Source
from detection.queue import webhook_secret
from detection.records import nearest_earlier

MAX_RESULTS = 100  # of a batch in one answer; a folder scan may have a million


class ScoresSerializer(serializers.Serializer):
    real = ScoreField(source="real_score", help_text="1 is surely a real photograph")
    fake = ScoreField(source="fake_score", help_text="1 is surely made by a generator")


class VerdictSerializer(serializers.Serializer):
    label = serializers.ChoiceField(Label.choices, help_text="The label that the model gave")
    is_fake = serializers.BooleanField(help_text="Whether the label is FAKE")
    confidence = ScoreField(help_text="The score of the label given")
    uncertain = serializers.BooleanField(help_text="Whether a person should check the image")
    reason = TextOrNullField(
        help_text="Why the image cannot be judged, whatever its score: too_small or no_content"
    )
    scores = ScoresSerializer(source="*", help_text="Both scores; they add up to 1")
    frame = serializers.IntegerField(help_text="The frame or page with this score, from 1")
    judged_frames = serializers.IntegerField(
        help_text="How many frames or pages were judged; 1 without frames=all"
    )
    meaning = serializers.SerializerMethodField(
        help_text="What such a score meant in a test, in a sentence. null: the checkpoint has no "
        "measurement, or another model judges now"
    )

    def get_meaning(self, prediction: Prediction) -> str | None:
        if "model" not in self.context:  # once per answer, not per prediction
            self.context["model"] = detector_info()
        return meaning_of(prediction, self.context["model"])


class ImageInfoSerializer(serializers.Serializer):
    width = serializers.IntegerField(help_text="Width of the upright image, in pixels")
    height = serializers.IntegerField(help_text="Height of the upright image, in pixels")
    format = serializers.CharField(source="image_format", help_text="Type by the content")
    size_bytes = serializers.IntegerField(help_text="Size of the file that was sent")
    sha256 = serializers.CharField(help_text="SHA-256 of the file that was sent, hexadecimal")
    damaged = serializers.BooleanField(help_text="Whether the file lacks up to 1 % of the pixels")
    frames = serializers.IntegerField(
        help_text="Frames of a GIF, WebP, AVIF or PNG, pages of a TIFF; 1 for other types"
    )


class ModelSerializer(serializers.Serializer):
    name = serializers.CharField(source="model_name", help_text="Name of the checkpoint")
    version = serializers.CharField(source="model_version", help_text="Hash of its weights")
    threshold = serializers.FloatField(help_text="Above this fake score, the label is FAKE")


class AnswerSerializer(serializers.Serializer):
    """The answer to a request that succeeded."""

    success = serializers.BooleanField(
        read_only=True, default=True, help_text="Whether the request succeeded"
    )


class FileUrlField(serializers.URLField):
    """The link to a stored file, signed when it is read: a stored link would expire."""

    def __init__(self, **options) -> None:
        super().__init__(read_only=True, allow_null=True, **options)

    def to_representation(self, file) -> str | None:
        return self.context["request"].build_absolute_uri(file.url) if file else None


class ReviewSerializer(serializers.Serializer):
    status = serializers.ChoiceField(
        Prediction.Review.choices, source="review_status", help_text="What a reviewer decided"
    )
    label = serializers.ChoiceField(
        Label.choices, source="label_in_force", help_text="The reviewer's label, else the model's"
    )
    reviewer = serializers.CharField(
        source="reviewer.username", allow_null=True, default=None, help_text="User name"
    )
    reviewed_at = serializers.DateTimeField(allow_null=True, help_text="Time of the decision")
    note = serializers.SerializerMethodField(help_text="The reviewer's remark on the decision")

    def get_note(self, prediction: Prediction) -> str:
        """Hide the note of an open record: it is for moderators only."""
        return prediction.review_note if prediction.is_reviewed else ""


class FileProvenanceSerializer(AnswerSerializer, ProvenanceSerializer):
    """What a stored file says of its own origin, in full."""


class BatchResultSerializer(WithProvenance):
    """One image of a batch."""

    index = serializers.IntegerField(source="batch_index", help_text="Place in the request, from 0")
    filename = serializers.CharField(source="original_filename", help_text="Name of the sent file")
    id = serializers.CharField(allow_null=True, help_text="Id of the record; null: not stored")
    source_url = TextOrNullField(help_text="Where the image was fetched; null: it was sent")
    duplicate_of = TextOrNullField(
        help_text="Earlier prediction of the same bytes, whose score was reused; null: none"
    )
    prediction = VerdictSerializer(source="*", help_text="What the model said")
    result_image_url = FileUrlField(
        source="result_image", help_text="A picture with the verdict; null: not stored"
    )
    result_filename = serializers.CharField(
        allow_null=True, help_text="Name of that picture; null: not stored"
    )
    review = ReviewSerializer(source="*", help_text="Decision of a reviewer")

    def to_representation(self, prediction: Prediction) -> ReturnDict:
        shown = super().to_representation(prediction)
        if prediction._state.adding:  # the prediction was not stored
            shown["id"] = shown["result_filename"] = None
        return shown


class LookalikeSerializer(serializers.Serializer):
    """A prediction on a similar picture."""

    id = serializers.CharField(source="prediction.pk", help_text="Id of that prediction")
    distance = serializers.IntegerField(
        help_text="Bits of the perceptual hash that differ, of 256; 0: it looks the same"
    )
    label = serializers.ChoiceField(
        Label.choices,
        source="prediction.label_in_force",
        help_text="The reviewer's label, else the model's",
    )
    review_status = serializers.ChoiceField(
        Prediction.Review.choices,
        source="prediction.review_status",
        help_text="What a reviewer decided",
    )
    reviewed_at = serializers.DateTimeField(
        source="prediction.reviewed_at", allow_null=True, help_text="Time of the decision"
    )
    created_at = serializers.DateTimeField(
        source="prediction.created_at", help_text="Time of that verdict"
    )


class SimilarSerializer(AnswerSerializer):
    """The predictions on similar pictures."""

    similar = LookalikeSerializer(many=True, help_text="The nearest first; at most 20")


class WithSimilarSerializer(serializers.Serializer):
    similar = serializers.SerializerMethodField(
        help_text="The nearest earlier prediction on a similar picture; null: none"
    )

    @extend_schema_field(LookalikeSerializer(allow_null=True))
    def get_similar(self, prediction: Prediction) -> dict | None:
        nearest = nearest_earlier(prediction, user=self.context["request"].user)
        return LookalikeSerializer(nearest).data if nearest else None


class PredictionResultSerializer(AnswerSerializer, BatchResultSerializer, WithSimilarSerializer):
    """The verdict on one image."""

    timestamp = serializers.DateTimeField(source="created_at", help_text="Time of the verdict")
    image_info = ImageInfoSerializer(source="*", help_text="Facts about the file")
    model = ModelSerializer(source="*", help_text="Which model judged")
    duration_ms = serializers.IntegerField(help_text="Decoding and detection, in milliseconds")
    heatmap_url = FileUrlField(
        source="heatmap_image",
        help_text="A picture of the evidence; null: not requested, or not available now",
    )
    index = None
    review = None  # a new prediction has none


class TimestampsSerializer(serializers.Serializer):
    created_at = serializers.DateTimeField(help_text="Time of the verdict")
    updated_at = serializers.DateTimeField(help_text="Time of the verdict, or of the last review")


class StorageSerializer(serializers.Serializer):
    """Links that expire; each answer has new ones."""

    minio_url = FileUrlField(source="result_image", help_text="The picture with the verdict")
    original_url = FileUrlField(source="original_image", help_text="The file that was sent")
    heatmap_url = FileUrlField(
        source="heatmap_image", help_text="A picture of the evidence; null: not drawn yet"
    )
    result_filename = serializers.CharField(help_text="Name of the picture with the verdict")


class RecordSerializer(WithProvenance):
    """A stored prediction."""

    id = serializers.CharField(help_text="26 characters, sortable by time")
    filename = serializers.CharField(source="original_filename", help_text="Name of the sent file")
    source = serializers.ChoiceField(Source.choices, help_text="How the image was sent")
    source_url = TextOrNullField(help_text="Where the image was fetched; null: it was sent")
    batch_id = serializers.CharField(allow_null=True, help_text="Id of the batch; null: none")
    duplicate_of = TextOrNullField(
        help_text="Earlier prediction of the same bytes, whose score was reused; null: none"
    )
    prediction = VerdictSerializer(source="*", help_text="What the model said")
    image_info = ImageInfoSerializer(source="*", help_text="Facts about the file")
    timestamps = TimestampsSerializer(source="*", help_text="In UTC")
    storage = StorageSerializer(source="*", help_text="Links to the files")
    model = ModelSerializer(source="*", help_text="Which model judged")
    review = ReviewSerializer(source="*", help_text="Decision of a reviewer")


class StoredPredictionSerializer(AnswerSerializer, RecordSerializer, WithSimilarSerializer):
    """One stored prediction."""


class HistorySerializer(AnswerSerializer):
    """One page of the history."""

    count = serializers.IntegerField(help_text="Predictions on this page")
    next = serializers.URLField(allow_null=True, help_text="The page with older predictions")
    previous = serializers.URLField(allow_null=True, help_text="The page with newer predictions")
    searched_to = serializers.DateTimeField(
        allow_null=True,
        help_text="null: the page is complete. A time: the search took long and stopped there; the "
        "next page continues",
    )
    predictions = RecordSerializer(many=True, help_text="Newest first")


class BatchErrorSerializer(serializers.Serializer):
    """An image of a batch that could not be judged."""

    index = serializers.IntegerField(help_text="Place in the request, from 0")
    filename = serializers.CharField(help_text="Name of the sent file")
    error = serializers.CharField(help_text="One plain sentence")
    code = serializers.CharField(help_text="One word for programs")


class BatchSerializer(AnswerSerializer):
    """A batch with its results so far."""

    batch_id = serializers.CharField(allow_null=True, help_text="null: nothing was stored")
    status = serializers.ChoiceField(
        PredictionBatch.Status.choices, help_text="Progress of the batch"
    )
    total_images = serializers.IntegerField(help_text="Images that were sent")
    successful = serializers.IntegerField(help_text="Images judged so far")
    failed = serializers.IntegerField(help_text="Images that could not be judged")
    created_at = serializers.DateTimeField(help_text="Time when the batch was sent")
    finished_at = serializers.DateTimeField(allow_null=True, help_text="null: not finished")
    results = serializers.SerializerMethodField(
        help_text=f"Results by index; of a larger batch the first {MAX_RESULTS}"
    )
    errors = serializers.SerializerMethodField(help_text="Errors by index; null: none")
    predictions_url = serializers.SerializerMethodField(
        help_text="The history of this batch; null: nothing was stored"
    )

    @extend_schema_field(BatchResultSerializer(many=True))
    def get_results(self, batch: PredictionBatch) -> list[dict]:
        predictions = self.context["predictions"]
        return BatchResultSerializer(predictions, many=True, context=self.context).data

    @extend_schema_field(BatchErrorSerializer(many=True, allow_null=True))
    def get_errors(self, batch: PredictionBatch) -> list[dict] | None:
        return batch.errors or None

    def get_predictions_url(self, batch: PredictionBatch) -> str | None:
        if batch._state.adding:
            return None
        path = f"{reverse('prediction-list')}?{urlencode({'batch': batch.pk})}"
        return self.context["request"].build_absolute_uri(path)

    def to_representation(self, batch: PredictionBatch) -> ReturnDict:
        shown = super().to_representation(batch)
        if batch._state.adding:  # the batch was not stored
            shown["batch_id"] = None
        return shown


class AcceptedBatchSerializer(BatchSerializer):
    """A queued batch."""

    webhook_secret = serializers.CharField(
        required=False,
        help_text="Key that signs the webhook; only in the answer to the request with webhook_url",
    )

    def to_representation(self, batch: PredictionBatch) -> ReturnDict:
        shown = super().to_representation(batch)
        if batch.webhook_url and self.context["is_new"]:
            shown["webhook_secret"] = webhook_secret(batch)
        return shown


class MeanConfidenceSerializer(serializers.Serializer):
    fake = ScoreField(help_text="Mean fake score of the images labelled FAKE")
    real = ScoreField(help_text="Mean real score of the images labelled REAL")


class DeclaredSerializer(serializers.Serializer):
    generated = serializers.IntegerField(help_text="Made by a generator, by their files")
    edited = serializers.IntegerField(help_text="With parts made by a generator, by their files")
    captured = serializers.IntegerField(help_text="Taken by a camera, by signed claims")


class FiguresSerializer(serializers.Serializer):
    total_predictions = serializers.IntegerField(help_text="Number of predictions")
    fake_count = serializers.IntegerField(help_text="Predictions labelled FAKE by the model")
    real_count = serializers.IntegerField(help_text="Predictions labelled REAL by the model")
    uncertain_count = serializers.IntegerField(help_text="Predictions that a person should check")
    fake_percentage = serializers.FloatField(help_text="Share labelled FAKE, 0 to 100")
    real_percentage = serializers.FloatField(help_text="Share labelled REAL, 0 to 100")
    average_confidence = MeanConfidenceSerializer(help_text="Mean scores by label")
    declared = DeclaredSerializer(help_text="Images whose files declare their origin")


class DaySerializer(FiguresSerializer):
    date = serializers.DateField(help_text="The day, in UTC")


class StatisticsSerializer(AnswerSerializer, FiguresSerializer):
    """Usage figures over the predictions that the caller may see."""

    days = DaySerializer(
        many=True, required=False, help_text="With interval=day: each day, oldest first"
    )


class ErrorSerializer(serializers.Serializer):
    """Every error has this shape."""

    success = serializers.BooleanField(default=False, help_text="Always false")
    error = serializers.CharField(help_text="One plain sentence")
    code = serializers.CharField(help_text="One word for programs")
