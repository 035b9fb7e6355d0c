"""Permissions of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from detection.models import Prediction

if TYPE_CHECKING:
    from rest_framework.views import APIView


class MayUseApi(BasePermission):
    """Allow everyone if API_ACCESS is ``open``, else callers with a token or a session."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return settings.API_ACCESS == "open" or request.user.is_authenticated


class MayReadMetrics(BasePermission):
    """Allow everyone if API_ACCESS is ``open``, else staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return settings.API_ACCESS == "open" or request.user.is_staff


class MayDelete(MayUseApi):
    """Allow the owner of a prediction, and staff with the permission. If API_ACCESS is ``open``,
    anyone may delete a prediction without an owner.
    """

    message = "Only the owner, or staff with the permission, can delete this prediction."

    def has_object_permission(self, request: Request, view: APIView, obj: Prediction) -> bool:
        if request.method != "DELETE" or request.user.has_perm("detection.delete_prediction"):
            return True
        if obj.owner_id is None:
            return settings.API_ACCESS == "open"
        return obj.owner_id == request.user.pk
