"""Read uploads of multipart requests. Bodies that are too large are refused before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import NoReturn

from django.conf import settings
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import ParseError, Throttled, UnsupportedMediaType
from rest_framework.request import Request

from detection.errors import QueueFullError
from detection.judging import Upload
from detection.queue import QueueQuotaError
from detection.sources import images_in_archive
from detection.web.admission import gate, one_of
from detection.web.errors import (
    EncodedBodyError,
    LengthRequiredError,
    MissingImageError,
    RequestTooLargeError,
    TooManyImagesError,
)
from detection.web.hang_up import watch_connection
from detection.web.image_urls import fetched_images, image_urls
from detection.web.multipart import WholeForms
from detection.web.upload_folder import UploadFolder

FORM_OVERHEAD = 2**20  # bytes of a multipart body beside its files: boundaries, names, fields
CHUNK = 2**16
MAX_DISCARDED = 2**26  # bytes of a refused body that are read, so that its client reads the answer
DISCARDING_SECONDS = 5.0
MAX_ARCHIVES = 4  # that are read at a time, for all callers together

View = Callable[..., HttpResponse]

_discarding = threading.BoundedSemaphore(8)  # refused bodies must not occupy all threads
_archives = threading.BoundedSemaphore(MAX_ARCHIVES)


def admits_images(view: View) -> View:
    """Decorate a view's method that reads images. The request holds a place at the gate,
    ``request.place``, while the method runs. Other methods accept no files.

    Without a free place, the answer is a 503 before the body is read. Images of a client that hung
    up are not judged.
    """

    @wraps(view)
    def admitted(self, request: Request, *args: object, **options: object) -> HttpResponse:
        try:
            with (
                gate.place(size_bytes=body_size(request)) as request.place,
                watch_connection(request),
            ):
                return view(self, request, *args, **options)
        except QueueFullError:
            _discard_body(request)
            raise

    admitted.admits_images = True
    return admitted


def is_for_images(view: View, method: str) -> bool:
    """Return whether requests with this HTTP method reach a method that ``admits_images``. ``view``
    is the function of the address.
    """
    name = method.lower()
    name = getattr(view, "actions", {}).get(name, name)
    handler = getattr(getattr(view, "cls", None), name, None)
    return hasattr(handler, "admits_images")


def receive_files(request: HttpRequest) -> UploadFolder:
    """Accept files in the request: small bodies in memory, others in the folder that is returned.
    The caller deletes the folder. Call this before anything reads the body.
    """
    folder = UploadFolder(request)
    request.upload_handlers = [WholeForms(request, [MemoryFileUploadHandler(request), folder])]
    return folder


def body_size(request: HttpRequest) -> int:
    """Return the Content-Length, or 0 without one."""
    header = request.headers.get("Content-Length", "")
    return int(header) if header.isdecimal() else 0


def check_body_size(request: HttpRequest, *, images: int | None = None) -> None:
    """Refuse a body that is too large for this number of images, or for any request. Call this
    before anything reads the body. Raises RequestTooLargeError.
    """
    size = body_size(request)
    limit = settings.MAX_REQUEST_BYTES
    if images is not None:
        limit = min(limit, images * settings.MAX_UPLOAD_BYTES)
    if size > limit + FORM_OVERHEAD:
        _refuse_body(request, "an image" if images == 1 else "a request", limit)


def check_encoding(request: HttpRequest) -> None:
    """Refuse a compressed body before anything reads the body. Raises EncodedBodyError."""
    encoding = request.headers.get("Content-Encoding", "").strip()
    if encoding.lower() in ("", "identity") or not _has_body(request):
        return
    _discard_body(request)
    raise EncodedBodyError(
        f"The body has the Content-Encoding {encoding[:40]}; send it without an encoding."
    )


def _has_body(request: HttpRequest) -> bool:
    return body_size(request) > 0 or "Transfer-Encoding" in request.headers


def check_small_body(request: HttpRequest) -> None:
    """Refuse a body that is too large for a request without images. Call this before anything reads
    the body. Raises RequestTooLargeError.
    """
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if body_size(request) > limit:
        _refuse_body(request, "a request without images", limit)


def _refuse_body(request: HttpRequest, what: str, limit: int) -> NoReturn:
    _discard_body(request)
    size = _mebibytes(body_size(request))
    raise RequestTooLargeError(f"The request has {size}; {what} may have {_mebibytes(limit)}.")


def check_form(request: Request, *, images: int) -> None:
    """Refuse a body that is no multipart form, or too large for its images. Call this before
    anything reads the body. Raises UnsupportedMediaType, ParseError, LengthRequiredError,
    RequestTooLargeError.
    """
    if request.content_type and not request.content_type.startswith("multipart/form-data"):
        raise UnsupportedMediaType(request.content_type, "Send a multipart/form-data request.")
    if request.content_type and not request.content_params.get("boundary"):
        raise ParseError("The Content-Type names no boundary: leave it to your HTTP client.")
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise LengthRequiredError("Send a Content-Length header, not chunks.")
    check_body_size(request, images=images)


def _discard_body(request: HttpRequest) -> None:
    """Read a refused body, since most clients send the whole body before they read the answer. Do
    not read large bodies, nor wait for slow clients.
    """
    if body_size(request) > MAX_DISCARDED or not _discarding.acquire(blocking=False):
        return
    deadline = time.monotonic() + DISCARDING_SECONDS
    try:
        while time.monotonic() < deadline and request.read(CHUNK):
            pass
    except OSError:  # hung up
        pass
    finally:
        _discarding.release()


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.3g} MiB"


def single_image(request: Request) -> Upload:
    """Return the one file in the field ``image``. Raises MissingImageError, TooManyImagesError."""
    files = _files(request, "image")
    if len(files) > 1:
        raise TooManyImagesError("Send one image at a time.")
    return _to_upload(files[0])


def several_images(request: Request, *, most: int) -> list[Upload]:
    """Return the files in the field ``images``. Raises MissingImageError, TooManyImagesError."""
    if "archive" in request.FILES:
        raise MissingImageError(
            "An archive is judged in the queue: send it with the form field async=true."
        )
    files = _files(request, "images")
    if len(files) > most:
        raise TooManyImagesError(
            f"The request has {len(files)} images; at most {most} are allowed."
        )
    return [_to_upload(file) for file in files]


def image_or_url(request: Request) -> Upload:
    """Return ``single_image``, or fetch the image at the URL in the field ``image_url``.

    Raises what ``single_image``, ``image_urls`` and ``fetched_images`` do.
    """
    urls = image_urls(request, most=1)
    return fetched_images(request, urls)[0] if urls else single_image(request)


@contextmanager
def counted_images(request: Request, *, most: int) -> Iterator[list[Upload]]:
    """Yield ``several_images``, or the images at the URLs in the field ``image_url``, counted by
    the throttle. If the service or the queue is full, or if too many URLs were sent, the images
    count as one request.

    Raises Throttled and what ``several_images``, ``image_urls`` and ``fetched_images`` do.
    """
    urls = image_urls(request, most=settings.MAX_BATCH_IMAGES)
    uploads = [] if urls else several_images(request, most=most)
    further = len(urls or uploads) - 1
    request.throttle.count(further)
    try:
        yield fetched_images(request, urls) if urls else uploads
    except (QueueFullError, QueueQuotaError, Throttled):
        request.throttle.release(further)
        raise


@contextmanager
def counted_images_or_archive(request: Request, *, most: int) -> Iterator[Iterable[Upload]]:
    """Yield ``counted_images``, or the images of the one file in ``archive``. The latter are read
    one after the other; each image and each MiB counts when it is read.

    Raises MissingImageError, TooManyImagesError, ArchiveError, Throttled, QueueFullError.
    """
    _refuse_text(request, "archive")
    archives = request.FILES.getlist("archive")
    if not archives:
        with counted_images(request, most=most) as uploads:
            yield uploads
        return
    image_urls(request, most=0)  # refuses URLs beside a file
    if len(archives) > 1 or "images" in request.FILES:
        raise TooManyImagesError("Send one archive, or images, but not both.")
    with (
        one_of(_archives, refusal="Too many archives are being read; try again later."),
        request.throttle.metered() as spend,
        archives[0].open() as archive,
    ):
        yield images_in_archive(archive.file, max_images=most, spend=spend)


def has_images(request: Request) -> bool:
    """Return whether the form has a file, or text in place of one."""
    return bool(request.FILES) or any(
        any(request.POST.getlist(field)) for field in ("images", "archive", "image_url")
    )


def _files(request: Request, field: str) -> list:
    _refuse_text(request, field)
    files = request.FILES.getlist(field)
    if not files:
        raise MissingImageError(_what_is_missing(request, field))
    return files


def _refuse_text(request: Request, field: str) -> None:
    if any(request.POST.getlist(field)):
        raise MissingImageError(f'The field "{field}" holds text; send files there.')


def _what_is_missing(request: Request, field: str) -> str:
    if request.FILES:
        others = ", ".join(f'"{name}"' for name in request.FILES)
        return f'Send files in a field called "{field}"; the request has a file in {others}.'
    return f'Send files in a multipart field called "{field}".'


def _to_upload(file) -> Upload:
    """Return the upload; for a file on disk with its path, so that its size is checked before it is
    read.
    """
    on_disk = hasattr(file, "temporary_file_path")
    data = Path(file.temporary_file_path()) if on_disk else file.read()
    return Upload(filename=file.name, data=data)
