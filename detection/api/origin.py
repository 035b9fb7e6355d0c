"""The JSON about the origin of a file."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from detection.models import Prediction
from detection.provenance import TRUST_WORDS


class ClaimSerializer(serializers.Serializer):
    """One statement of the file, as plain text. Long texts are cut."""

    kind = serializers.CharField(
        help_text="c2pa, source_type, credit, generator, aigc_label or camera"
    )
    says = serializers.CharField(help_text="The statement in a sentence")
    place = serializers.CharField(help_text="Where the file has the statement")
    declares = serializers.ChoiceField(
        Prediction.Declares.choices,
        allow_null=True,
        help_text="What the statement declares; null: nothing",
    )
    generator = serializers.CharField(help_text="Name of the generator; empty: none")
    version = serializers.CharField(help_text="Version of the generator; empty: none")
    signer = serializers.CharField(help_text="Signer in the certificate; empty: not signed")
    trust = serializers.ChoiceField(
        [*TRUST_WORDS], help_text="Whether the statement is signed, and the signer trusted"
    )
    trust_says = serializers.SerializerMethodField(help_text="The trust in words")
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
        "a camera's signed claim; null: the file declares nothing",
    )
    says = serializers.CharField(help_text="The declaration in a sentence; empty: none")
    generator = serializers.CharField(help_text="Name of the generator; empty: none is named")
    contradicts_label = serializers.BooleanField(
        help_text="Whether the declaration contradicts the model's label"
    )
    claims = ClaimSerializer(many=True, help_text="All statements of the file")
    unread = serializers.ListField(
        child=serializers.CharField(), help_text="Metadata that could not be read"
    )


class WithProvenance(serializers.Serializer):
    """Base of the serializers that show a prediction."""

    provenance = serializers.SerializerMethodField(
        help_text="What the file says of its own origin; null: it was never inspected"
    )

    @extend_schema_field(ProvenanceSerializer(allow_null=True))
    def get_provenance(self, prediction: Prediction) -> dict | None:
        found = prediction.provenance
        if not found:
            return None
        return ProvenanceSerializer(found | {"contradicts_label": prediction.disputed}).data
