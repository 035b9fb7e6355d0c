"""The JSON about the origin of a file."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from detection.models import Prediction
from detection.provenance import TRUST_WORDS


class ClaimSerializer(serializers.Serializer):
    """One statement of the file, in plain text and cut."""

    kind = serializers.CharField(
        help_text="c2pa, source_type, credit, generator, aigc_label or camera"
    )
    says = serializers.CharField(help_text="The statement in a sentence")
    place = serializers.CharField(help_text="Where in the file")
    declares = serializers.ChoiceField(
        Prediction.Declares.choices, allow_null=True, help_text="What it declares; null: nothing"
    )
    generator = serializers.CharField(help_text="Name of the generator; empty: none")
    version = serializers.CharField(help_text="Its version; empty: none")
    signer = serializers.CharField(help_text="Who signed, as the certificate says; empty: nobody")
    trust = serializers.ChoiceField([*TRUST_WORDS], help_text="Who vouches for the statement")
    trust_says = serializers.SerializerMethodField(help_text="The same in words")
    details = serializers.DictField(
        child=serializers.CharField(),
        help_text="Facts by name: prompt, model, sampler, exposure and others",
    )

    def get_trust_says(self, claim: dict) -> str:
        return f"{TRUST_WORDS[claim['trust']]} {claim['why']}".rstrip()


class ProvenanceSerializer(serializers.Serializer):
    """What the file says of its own origin. The detector's verdict does not depend on it."""

    declares = serializers.ChoiceField(
        Prediction.Declares.choices,
        allow_null=True,
        help_text="generated: a generator made the whole image; edited: it made parts; captured: "
        "a camera's signed claim; null: nothing",
    )
    says = serializers.CharField(help_text="The same in a sentence; empty: nothing")
    generator = serializers.CharField(help_text="Name of the generator; empty: none is named")
    contradicts_label = serializers.BooleanField(
        help_text="Whether this contradicts the label that the model gave"
    )
    claims = ClaimSerializer(many=True, help_text="All statements of the file")
    unread = serializers.ListField(
        child=serializers.CharField(), help_text="Metadata that could not be read"
    )


class WithProvenance(serializers.Serializer):
    """Base of what shows a prediction."""

    provenance = serializers.SerializerMethodField(
        help_text="What the file says of its own origin; null: it was never inspected"
    )

    @extend_schema_field(ProvenanceSerializer(allow_null=True))
    def get_provenance(self, prediction: Prediction) -> dict | None:
        found = prediction.provenance
        if not found:
            return None
        return ProvenanceSerializer(found | {"contradicts_label": prediction.disputed}).data
