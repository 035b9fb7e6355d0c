"""How the serializers read query parameters and form fields."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.request import Request

from detection.api.fields import MomentField


def single_values(given: QueryDict, *, repeatable: str = "") -> dict[str, str]:
    """Return the values by name, in a plain dictionary: in a QueryDict, REST framework reads a
    missing flag as false. Raises ValidationError for names that were sent several times, but for
    the one that is ``repeatable``.
    """
    repeated = [name for name, values in given.lists() if len(values) > 1 and name != repeatable]
    if repeated:
        raise serializers.ValidationError({name: ["Send this once."] for name in repeated})
    return given.dict()


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

    @classmethod
    def asked(cls, request: Request, **given: str) -> dict[str, Any]:
        """Return the parameters of the request, and those that were ``given`` in its path.

        Raises ValidationError.
        """
        serializer = cls(data=single_values(request.query_params) | given)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data
