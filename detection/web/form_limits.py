"""Limit forms without images. The limits apply before anything else reads the body, since the check
of a form's CSRF token reads the body even of unknown callers.
"""

from __future__ import annotations

import threading

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import Throttled

from detection.errors import ServiceError, database_errors
from detection.web.admission import one_of
from detection.web.errors import FilesRefusedError, TooManyPartsError
from detection.web.throttling import FormThrottle
from detection.web.uploads import body_size, check_small_body

MAX_PARTS = 20
MAX_ANONYMOUS_FORMS = 8  # that are read at a time, so that slow clients do not occupy all threads
MULTIPART = "multipart/form-data"
FORM_TYPES = {MULTIPART, "application/x-www-form-urlencoded"}
# What ``read_form`` raises
FORM_ERRORS = (
    BadRequest,
    MultiPartParserError,
    ServiceError,
    SuspiciousOperation,
    Throttled,
    UnreadablePostError,
)

_anonymous_forms = threading.BoundedSemaphore(MAX_ANONYMOUS_FORMS)


class NoFiles(FileUploadHandler):
    """Refuse files, in every request whose view accepts no images."""

    def new_file(self, *description: object, **options: object) -> None:
        raise FilesRefusedError("This address accepts no files.")


def read_form(request: HttpRequest) -> None:
    """Parse the form of a request without images. Views use the parsed form.

    Raises RequestTooLargeError, TooManyPartsError, FilesRefusedError, Throttled, QueueFullError,
    DatabaseUnavailableError, and what Django raises for a body that is no form: FORM_ERRORS.
    """
    check_small_body(request)
    is_form = request.method == "POST" and request.content_type in FORM_TYPES
    if not is_form or body_size(request) == 0:
        return
    with database_errors():
        is_signed_in = request.user.is_authenticated
    if is_signed_in:
        _read(request)
        return
    FormThrottle().check(request)
    with one_of(_anonymous_forms, refusal="Too many forms are being read; try again later."):
        _read(request)


def _read(request: HttpRequest) -> None:
    if request.content_type == MULTIPART:
        _check_parts(request)
    request.POST  # noqa: B018  parses the form


def _check_parts(request: HttpRequest) -> None:
    """Raise TooManyPartsError for a form with more than MAX_PARTS. Django parses all parts, but
    counts only fields and files with names.
    """
    boundary = b"--" + request.content_params.get("boundary", "").encode(errors="replace")
    if request.body.count(boundary) > MAX_PARTS + 1:  # and the one at the end
        raise TooManyPartsError(f"The form has too many parts; at most {MAX_PARTS} are allowed.")
