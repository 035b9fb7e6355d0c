"""The JSON of the HTTP contract, read off the records."""

from __future__ import annotations

from rest_framework import serializers


class ScoreField(serializers.FloatField):
    """A score to six decimals: the same bytes give the same digits."""

    def to_representation(self, value: float) -> float:
        return round(super().to_representation(value), 6)


class ScoresSerializer(serializers.Serializer):
    real = ScoreField(source="real_score")
    fake = ScoreField(source="fake_score")


class VerdictSerializer(serializers.Serializer):
    label = serializers.ChoiceField(["REAL", "FAKE"])
    is_fake = serializers.BooleanField()
    confidence = ScoreField(help_text="The score of the label given")
    uncertain = serializers.BooleanField()
    scores = ScoresSerializer(source="*")


class ImageInfoSerializer(serializers.Serializer):
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    format = serializers.CharField(source="image_format")
    size_bytes = serializers.IntegerField()
    sha256 = serializers.CharField()


class ModelSerializer(serializers.Serializer):
    name = serializers.CharField(source="model_name")
    version = serializers.CharField(source="model_version")
    threshold = serializers.FloatField()


class PredictionResultSerializer(serializers.Serializer):
    """What ``POST /api/predict/`` answers about a Prediction; the context holds the request."""

    success = serializers.SerializerMethodField()
    id = serializers.CharField()
    filename = serializers.CharField(source="original_filename")
    timestamp = serializers.DateTimeField(source="created_at")
    prediction = VerdictSerializer(source="*")
    image_info = ImageInfoSerializer(source="*")
    model = ModelSerializer(source="*")
    result_image_url = serializers.SerializerMethodField()
    result_filename = serializers.CharField()
    duration_ms = serializers.IntegerField()

    def get_success(self, prediction) -> bool:
        return True

    def get_result_image_url(self, prediction) -> str:
        # Signed now: a stored link would expire.
        return self.context["request"].build_absolute_uri(prediction.result_image.url)
