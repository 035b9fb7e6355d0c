"""The envelope for errors that Django raises by itself, before or instead of REST framework."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from detection.api.errors import error_response

GetResponse = Callable[[HttpRequest], HttpResponse]


def json_errors(get_response: GetResponse) -> GetResponse:
    """Replaces Django's error pages, those of DEBUG included, by the envelope.

    The admin is left alone: people read its pages.
    """
    admin = reverse("admin:index")

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        is_page = not response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or not is_page or request.path.startswith(admin):
            return response
        envelope = error_response(response.status_code)
        if "Allow" in response.headers:
            envelope.headers["Allow"] = response.headers["Allow"]
        return envelope

    return middleware
