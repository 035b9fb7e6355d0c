"""Errors that Django itself finds in the forms of people."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from detection.web import error_page

STALE_FORM = "This page has been open for too long. Load it again, then send it once more."


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without the token of its page; views of the API have an answer of their own."""
    return error_page(request, 403, STALE_FORM)
