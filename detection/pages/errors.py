"""The page about a stale form, which Django finds itself."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from detection.web import error_page

STALE_FORM = "This page was open for too long. Reload it, then send the form again."


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without the CSRF token of its page. Views of the API answer themselves."""
    return error_page(request, 403, STALE_FORM)
