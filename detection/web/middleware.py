"""Middleware: errors in one envelope, limits on bodies and on attempts to sign in."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import ceil

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from rest_framework.exceptions import Throttled

from detection.errors import UnavailableError
from detection.web.errors import (
    EncodedBodyError,
    RequestTooLargeError,
    as_outage,
    error_page,
    error_response,
    is_json,
    log_unavailable,
    status_sentence_code,
)
from detection.web.form_limits import FORM_ERRORS, read_form
from detection.web.throttling import LoginThrottle
from detection.web.uploads import (
    View,
    check_body_size,
    check_encoding,
    is_for_images,
    receive_files,
)

GetResponse = Callable[[HttpRequest], HttpResponse]

CONTENT_HEADERS = {"content-type", "content-length", "content-encoding"}
# Addresses that are for programs, whatever their Accept header says
API = ("/api/", "/predict", "/batch_predict", "/health", "/metrics", "/files/")


def _refusal(
    request: HttpRequest, status: int, sentence: str | None = None, code: str | None = None
) -> HttpResponse:
    """Return the error as a page if a browser asks for a page, otherwise as the envelope."""
    envelope = error_response(status, sentence, code)
    if not _is_for_people(request):
        return envelope
    page = error_page(request, status, json.loads(envelope.content)["error"])
    page.is_refusal = True
    if "Retry-After" in envelope.headers:
        page.headers["Retry-After"] = envelope.headers["Retry-After"]
    return page


def _refusal_of(request: HttpRequest, error: Exception) -> HttpResponse:
    if isinstance(error, UnavailableError):
        log_unavailable(request, error)
    refusal = _refusal(request, *status_sentence_code(error))
    if isinstance(error, Throttled):
        refusal.headers["Retry-After"] = str(ceil(error.wait))
    return refusal


def _is_for_people(request: HttpRequest) -> bool:
    """Return whether a browser asks for a page. Signing in to the browsable API is a page too."""
    if "text/html" not in request.headers.get("Accept", "").lower():
        return False
    login = reverse("rest_framework:login").removesuffix("login/")
    return request.path.startswith(login) or not request.path.startswith(API)


class JsonErrors:
    """Replace Django's error pages, even those of DEBUG, with the envelope or with a page of this
    site. Pages of the admin and of the browsable API, and the page about a stale form, stay.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response
        self._admin = reverse("admin:index")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if response.status_code < 400 or is_json(response) or self._is_page(request, response):
            return response
        refusal = _refusal(request, response.status_code)
        for name, value in response.headers.items():
            if name.lower() not in CONTENT_HEADERS:
                refusal.headers[name] = value
        return refusal

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer an outage outside of REST framework: in the admin, or at the sign-in."""
        error = as_outage(error)
        return _refusal_of(request, error) if isinstance(error, UnavailableError) else None

    def _is_page(self, request: HttpRequest, response: HttpResponse) -> bool:
        browsable = getattr(response, "accepted_renderer", None)
        if request.path.startswith(self._admin) or browsable is not None:
            return True
        stale_form = response.status_code == 403 and _is_for_people(request)
        return stale_form or hasattr(response, "is_refusal")


class BodyLimits:
    """Refuse a body that is compressed or too large for any request, and a form that is too large
    for an address without images, before anything else reads the body. The media type may have any
    case.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        _lower_media_type(request)
        try:
            check_encoding(request)
            check_body_size(request)
        except (EncodedBodyError, RequestTooLargeError) as error:
            return _refusal_of(request, error)
        try:
            return self._get_response(request)
        finally:
            if hasattr(request, "upload_folder"):
                request.upload_folder.delete()

    def process_view(
        self, request: HttpRequest, view: View, arguments: tuple, options: dict
    ) -> HttpResponse | None:
        """Prepare the request for files, or read its form. Django calls this before the check of
        the CSRF token, which otherwise would be the first to read the body.
        """
        if is_for_images(view, request.method):
            request.upload_folder = receive_files(request)
            return None
        try:
            read_form(request)
        except FORM_ERRORS as error:
            return _refusal_of(request, error)
        return None


def _lower_media_type(request: HttpRequest) -> None:
    if "CONTENT_TYPE" in request.META:
        media_type, *parameters = request.META["CONTENT_TYPE"].split(";")
        request.META["CONTENT_TYPE"] = ";".join([media_type.lower(), *parameters])


def throttle_logins(get_response: GetResponse) -> GetResponse:
    """Limit attempts to sign in, to slow down the guessing of passwords."""
    pages = {reverse(name) for name in ("admin:login", "rest_framework:login", "sign-in")}

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.path_info in pages:
            try:
                LoginThrottle().check(request)
            except Throttled as error:
                return _refusal_of(request, error)
        return get_response(request)

    return middleware
