"""Validation of query parameters and form fields."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from rest_framework import serializers

from detection.api.fields import MomentField


def validated(
    serializer: type[serializers.Serializer],
    sent: QueryDict,
    *,
    repeatable: str = "",
    **given: str,
) -> dict[str, Any]:
    """Return the validated parameters or form fields. ``given`` adds values from elsewhere, such as
    the path. Raises ValidationError for an invalid value, and for a name that was sent several
    times, unless it is ``repeatable``.
    """
    repeated = [name for name, values in sent.lists() if len(values) > 1 and name != repeatable]
    if repeated:
        raise serializers.ValidationError({name: ["Send this once."] for name in repeated})
    # A plain dictionary: in a QueryDict, REST framework reads a missing flag as false.
    read = serializer(data=sent.dict() | given)
    read.is_valid(raise_exception=True)
    return read.validated_data


class PeriodQuerySerializer(serializers.Serializer):
    """The parameters ``from`` and ``to``. Unknown parameters are errors: a misspelled filter would
    show everything.
    """

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = super().get_fields()
        # from is a keyword of Python
        fields["from"] = MomentField(
            required=False, help_text="First day or moment: 2026-11-22 or 2026-11-22T12:00:00Z"
        )
        fields["to"] = MomentField(
            required=False,
            end_of_day=True,
            help_text="Last day, included; or the moment at which the period ends",
        )
        return fields

    def to_internal_value(self, data: dict[str, str]) -> dict[str, Any]:
        unknown = {
            name: ["There is no such parameter."] for name in data if name not in self.fields
        }
        if unknown:
            raise serializers.ValidationError(unknown)
        return super().to_internal_value(data)
