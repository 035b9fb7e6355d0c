"""Answer errors, each in the envelope ``{"success": false, "error": sentence, "code": word}``."""

from __future__ import annotations

import logging
from http import HTTPStatus

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import (
    BadRequest,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from rest_framework import views  # not names of it: its settings import this module first
from rest_framework.exceptions import APIException, NotFound
from rest_framework.response import Response

from detection.d3.errors import (
    D3Error,
    ImageError,
    ImageTooLargeError,
    TooManyPixelsError,
    UnsupportedImageError,
)
from detection.errors import ServiceError, UnavailableError, database_errors
from detection.files import LinkError
from detection.judging import CallerGoneError, OtherModelError
from detection.queue import BatchClosedError, QueueQuotaError
from detection.records import OriginalLostError
from detection.sources import ArchiveTooLargeError

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5

SENTENCES = {
    400: "The request could not be understood.",
    401: "Sign in, or send a token.",
    403: "You have no access to this.",
    404: "There is nothing at this address.",
    405: "This address does not support this method.",
    413: "The request is too large.",
    414: "The address is too long.",
    417: "This Expect header is not supported; leave it out.",
    431: "The headers of the request are too large.",
    500: "An internal error occurred; it has been logged.",
    501: "This Transfer-Encoding is not supported; send a Content-Length header.",
}

# Codes of statuses that have different names in different versions of Python
CODES = {413: "request_too_large", 414: "address_too_long", 431: "headers_too_large"}


class MissingImageError(ServiceError):
    code = "missing_image"


class TooManyImagesError(ServiceError):
    code = "too_many_images"


class LengthRequiredError(ServiceError):
    code = "length_required"


class EncodedBodyError(ServiceError):
    code = "unsupported_content_encoding"


class RequestTooLargeError(ServiceError):
    code = "request_too_large"


class TooManyPartsError(ServiceError):
    code = "too_many_parts"


class UnreadablePartError(ServiceError):
    code = "unreadable_part"


class IncompleteFormError(ServiceError):
    code = "upload_interrupted"


class ImageUrlsOffError(ServiceError):
    code = "image_urls_off"


class FilesRefusedError(ServiceError):
    code = "files_refused"


# Statuses of errors that have a sentence and a code of their own; the nearest class decides.
STATUSES: dict[type[Exception], int] = {
    ServiceError: 400,
    ArchiveTooLargeError: 413,
    BatchClosedError: 409,
    CallerGoneError: 499,  # the status that nginx logs for clients that hung up
    EncodedBodyError: 415,
    FilesRefusedError: 413,
    ImageUrlsOffError: 403,
    LengthRequiredError: 411,
    LinkError: 403,
    OriginalLostError: 404,
    OtherModelError: 409,
    QueueQuotaError: 429,
    RequestTooLargeError: 413,
    TooManyPartsError: 413,
    UnavailableError: 503,
    ImageError: 400,
    ImageTooLargeError: 413,
    TooManyPixelsError: 413,
    UnsupportedImageError: 415,
}
# Status, sentence and code of the other errors; the nearest class decides.
OTHER_ERRORS: dict[type[Exception], tuple[int, str, str]] = {
    D3Error: (503, "The detector is not available.", "detector_unavailable"),
    TooManyFilesSent: (400, "The request has too many files.", "too_many_images"),
    TooManyFieldsSent: (400, "The request has too many fields.", "too_many_fields"),
    RequestDataTooBig: (413, SENTENCES[413], "request_too_large"),
    SuspiciousOperation: (400, SENTENCES[400], "bad_request"),
    BadRequest: (400, SENTENCES[400], "bad_request"),
    MultiPartParserError: (400, SENTENCES[400], "bad_request"),
    UnreadablePostError: (400, "The body of the request ended early.", "upload_interrupted"),
    Exception: (500, SENTENCES[500], "internal_server_error"),
}


def envelope(sentence: str, code: str) -> dict:
    return {"success": False, "error": sentence, "code": code}


def error_response(
    status: int, sentence: str | None = None, code: str | None = None
) -> JsonResponse:
    """Return the envelope, for code outside of REST framework. Sentence and code default to those
    of the status.
    """
    standard = HTTPStatus(status)
    sentence = sentence or SENTENCES.get(status, f"{standard.phrase}.")
    body = envelope(sentence, code or CODES.get(status, standard.name.lower()))
    return JsonResponse(body, status=status, headers=_headers(status))


def error_page(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    """Return the error as a page, which needs no database query, not even for the user."""
    request.user = AnonymousUser()
    context = {"error": sentence, "status": status}
    return render(request, "pages/error.html", context, status=status)


def is_json(response: HttpResponse) -> bool:
    """Return whether a response is JSON, as the envelope is."""
    return response.headers.get("Content-Type", "").startswith("application/json")


def exception_handler(error: Exception, context: dict) -> Response:
    """Return the envelope for an exception of a view. This is REST framework's hook."""
    error = as_outage(error)
    if isinstance(error, Http404):  # Django's own sentence names our classes
        error = NotFound(SENTENCES[404])
    response = views.exception_handler(error, context) or _known_error(error, context["request"])
    if not isinstance(response.data, dict) or "success" not in response.data:
        response.data = envelope(*_sentence_and_code(response.data))
    return response


def as_outage(error: Exception) -> Exception:
    """Return DatabaseUnavailableError for an error of a lost database, and other errors unchanged.
    Any query of a request may be the first to fail, even that of the authentication.
    """
    try:
        with database_errors():
            raise error
    except Exception as result:
        return result


def _known_error(error: Exception, request) -> Response:
    status, sentence, code = status_sentence_code(error)
    if isinstance(error, UnavailableError):
        log_unavailable(request, error)
    elif status >= 500:
        logger.error("%s %s failed.", request.method, request.path, exc_info=error)
    return Response(envelope(sentence, code), status=status, headers=_headers(status))


def status_sentence_code(error: Exception) -> tuple[int, str, str]:
    """Return the status, the sentence and the code that answer an error."""
    if isinstance(error, APIException):
        return error.status_code, str(error.detail), error.detail.code
    nearest = next(each for each in type(error).__mro__ if each in STATUSES | OTHER_ERRORS)
    return OTHER_ERRORS.get(nearest) or (STATUSES[nearest], str(error), error.code)


def log_unavailable(request: HttpRequest, error: UnavailableError) -> None:
    """Log an outage in one line, since there may be thousands of such lines."""
    reason = str(error.__cause__ or error).partition("\n")[0]
    logger.warning("%s %s: %s %s", request.method, request.path, error, reason)


def _headers(status: int) -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in (429, 503) else {}


def _sentence_and_code(data: dict | list) -> tuple[str, str]:
    """Return one sentence for REST framework's detail, or for its messages by field."""
    if isinstance(data, dict) and "detail" in data:
        return str(data["detail"]), data["detail"].code
    return _sentence(data), "invalid"


def _sentence(data: dict | list | str) -> str:
    if isinstance(data, dict):
        return " ".join(f"{field}: {_sentence(messages)}" for field, messages in data.items())
    if isinstance(data, list):
        return " ".join(_sentence(message) for message in data)
    return str(data)
