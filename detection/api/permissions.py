from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from detection.models import Prediction

if TYPE_CHECKING:
    from rest_framework.views import APIView


class MayUseApi(BasePermission):
    """Everybody where API_ACCESS is ``open``, else who shows a token or is signed in."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return settings.API_ACCESS == "open" or request.user.is_authenticated


class MayReadMetrics(BasePermission):
    """Everybody where API_ACCESS is ``open``, else staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return settings.API_ACCESS == "open" or request.user.is_staff


class MayDelete(MayUseApi):
    """The owner of a prediction, and staff with the permission; where everybody is let in, one that
    nobody owns is everybody's.
    """

    message = "Only its owner, or staff who may delete, can delete this prediction."

    def has_object_permission(self, request: Request, view: APIView, obj: Prediction) -> bool:
        if request.method != "DELETE" or request.user.has_perm("detection.delete_prediction"):
            return True
        if obj.owner_id is None:
            return settings.API_ACCESS == "open"
        return obj.owner_id == request.user.pk
