"""Write the log and the metrics of requests and of failed attempts to sign in.

No secret enters the log: queries of requests and names of failed sign-ins are left out.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable

from django.contrib.admindocs.views import simplify_regex
from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from rest_framework.throttling import BaseThrottle

from d3site.request_id import request_id
from detection import prometheus
from detection.models import new_id
from detection.web.errors import is_json

GetResponse = Callable[[HttpRequest], HttpResponse]

logger = logging.getLogger("detection.requests")

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
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
    if response.status_code < 400 or not is_json(response):
        return None
    return json.loads(response.content).get("code")


@receiver(user_login_failed)
def record_failed_sign_in(request: HttpRequest | None = None, **_: object) -> None:
    """Log and count a wrong name or password. The name is not logged: some people type their
    password there.
    """
    prometheus.FAILED_SIGN_INS.inc()
    address = BaseThrottle().get_ident(request) if request else None
    logger.warning("Sign-in failed from %s.", address, extra={"address": address})
