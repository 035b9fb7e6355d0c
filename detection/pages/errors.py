"""Errors that Django itself finds in the forms of people."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

STALE_FORM = "This page has been open for too long. Load it again, then send it once more."


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without the token of its page; views of the API have an answer of their own."""
    request.user = AnonymousUser()  # the page must not ask a lost database who reads it
    return render(request, "pages/error.html", {"error": STALE_FORM, "status": 403}, status=403)
