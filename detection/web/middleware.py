"""Middleware: the log and the metrics of requests, errors in one envelope, limits on bodies."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from math import ceil

from django.contrib.admindocs.views import simplify_regex
from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from rest_framework.exceptions import Throttled
from rest_framework.throttling import BaseThrottle

from d3site.request_id import request_id
from detection import prometheus
from detection.errors import UnavailableError
from detection.models import new_id
from detection.web.errors import (
    EncodedBodyError,
    RequestTooLargeError,
    as_outage,
    error_page,
    error_response,
    log_unavailable,
    status_sentence_code,
)
from detection.web.forms import FORM_ERRORS, read_form
from detection.web.throttling import LoginThrottle
from detection.web.uploads import (
    View,
    check_body_size,
    check_encoding,
    is_for_images,
    receive_files,
)

GetResponse = Callable[[HttpRequest], HttpResponse]

logger = logging.getLogger("detection.requests")

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
CONTENT_HEADERS = {"content-type", "content-length", "content-encoding"}
# Addresses that are for programs, whatever their Accept header says
API = ("/api/", "/predict", "/batch_predict", "/health", "/metrics", "/files/")
GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_record(get_response: GetResponse) -> GetResponse:
    """Log one line for each request, with an id that the client receives as well.

    Only the path is logged: the query of a link to a file gives access to the file.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        request_id.set(given if GIVEN_ID.fullmatch(given) else new_id())
        start = time.perf_counter()
        with prometheus.REQUESTS_IN_PROGRESS.track_inprogress():
            response = get_response(request)
        _record(request, response, seconds=time.perf_counter() - start)
        response.headers["X-Request-ID"] = request_id.get()
        return response

    return middleware


def _record(request: HttpRequest, response: HttpResponse, *, seconds: float) -> None:
    method = request.method if request.method in METHODS else "other"
    route = _route(request)
    code = _error_code(response)
    prometheus.REQUESTS.labels(method, route, response.status_code).inc()
    prometheus.REQUEST_SECONDS.labels(method, route).observe(seconds)
    if code:
        prometheus.ERRORS.labels(code).inc()
    logger.info(
        "%s %s %s",
        request.method,
        request.path,
        response.status_code,
        extra={
            "method": request.method,
            "path": request.path,
            "route": route,
            "status": response.status_code,
            "duration_ms": round(seconds * 1000, 1),
            "code": code,
            "address": BaseThrottle().get_ident(request),
        },
    )


def _route(request: HttpRequest) -> str:
    """Return the pattern of the address; ``unknown`` for all addresses without a view."""
    match = request.resolver_match
    return simplify_regex(match.route) if match else "unknown"


def _error_code(response: HttpResponse) -> str | None:
    if response.status_code < 400 or not _is_json(response):
        return None
    return json.loads(response.content).get("code")


def _is_json(response: HttpResponse) -> bool:
    return response.headers.get("Content-Type", "").startswith("application/json")


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
        if response.status_code < 400 or _is_json(response) or self._is_page(request, response):
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
    """Limit attempts to sign in, so that passwords cannot be guessed."""
    pages = {reverse(name) for name in ("admin:login", "rest_framework:login", "sign-in")}

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.path_info in pages:
            try:
                LoginThrottle().check(request)
            except Throttled as error:
                return _refusal_of(request, error)
        return get_response(request)

    return middleware


@receiver(user_login_failed)
def record_failed_sign_in(request: HttpRequest | None = None, **_: object) -> None:
    """Log and count a wrong name or password. The name is not logged: some people type their
    password there.
    """
    prometheus.FAILED_SIGN_INS.inc()
    address = BaseThrottle().get_ident(request) if request else None
    logger.warning("Sign-in failed from %s.", address, extra={"address": address})
