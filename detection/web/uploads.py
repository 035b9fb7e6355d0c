"""From a multipart request to uploads, refusing what is too large before it is read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import NoReturn

from django.conf import settings
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request

from detection.errors import QueueFullError
from detection.judging import Upload
from detection.sources import images_in_archive
from detection.web.admission import gate
from detection.web.errors import (
    LengthRequiredError,
    MissingImageError,
    NotAFormError,
    RequestTooLargeError,
    TooManyImagesError,
)
from detection.web.hang_up import watch_connection
from detection.web.upload_folder import UploadFolder

FORM_OVERHEAD = 2**20  # bytes of a multipart body beside its files: boundaries, names, fields
CHUNK = 2**16
MAX_DISCARDED = 2**26  # bytes that are read for the sake of an answer
DISCARDING_SECONDS = 5.0

View = Callable[..., HttpResponse]

# Bodies that are read for nothing must not keep all threads busy.
_discarding = threading.BoundedSemaphore(8)


def admits_images(view: View) -> View:
    """For a method of a view that reads images: it holds a place while it runs, ``request.place``.
    Requests for other methods may have no files.

    When there is none, the answer is a 503 before the body is looked at. Images of a client that
    has hung up when their turn comes are not judged.
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
    """Whether a request with this HTTP method reaches a method that ``admits_images``. ``view`` is
    the function that the address leads to.
    """
    name = method.lower()
    name = getattr(view, "actions", {}).get(name, name)
    handler = getattr(getattr(view, "cls", None), name, None)
    return hasattr(handler, "admits_images")


def receive_files(request: HttpRequest) -> UploadFolder:
    """Let the request have files: in memory where the body is small, else in the folder returned,
    which the caller deletes. Call it before anything reads the body.
    """
    folder = UploadFolder(request)
    request.upload_handlers = [MemoryFileUploadHandler(request), folder]
    return folder


def body_size(request: HttpRequest) -> int:
    """As its head says; 0 where it says nothing."""
    header = request.headers.get("Content-Length", "")
    return int(header) if header.isdecimal() else 0


def check_body_size(request: HttpRequest, *, images: int | None = None) -> None:
    """Refuses a body with more than so many images may have, or any request; call it before
    reading any. Raises RequestTooLargeError.
    """
    size = body_size(request)
    limit = settings.MAX_REQUEST_BYTES
    if images is not None:
        limit = min(limit, images * settings.MAX_UPLOAD_BYTES)
    if size > limit + FORM_OVERHEAD:
        _refuse_body(request, "an image" if images == 1 else "a request", limit)


def check_small_body(request: HttpRequest) -> None:
    """Refuse a body that is too large for a request without images. Call it before reading any.
    Raises RequestTooLargeError.
    """
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if body_size(request) > limit:
        _refuse_body(request, "a request without images", limit)


def _refuse_body(request: HttpRequest, what: str, limit: int) -> NoReturn:
    _discard_body(request)
    size = _mebibytes(body_size(request))
    raise RequestTooLargeError(f"The request has {size}; {what} may have {_mebibytes(limit)}.")


def check_form(request: Request, *, images: int) -> None:
    """Refuses a body that is no form, or too large for its images; call it before reading any."""
    if request.content_type and not request.content_type.startswith("multipart/form-data"):
        raise NotAFormError
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise LengthRequiredError
    check_body_size(request, images=images)


def _discard_body(request: HttpRequest) -> None:
    """Most clients read no answer before they have sent everything. Large bodies and slow clients
    are not waited for.
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
    """The one file of the request, which must be in the field ``image``."""
    files = _files(request, "image")
    if len(files) > 1:
        raise TooManyImagesError("Send one image at a time.")
    return _to_upload(files[0])


def several_images(request: Request, *, most: int) -> list[Upload]:
    """The files of the request, which must be in the field ``images``."""
    files = _files(request, "images")
    if len(files) > most:
        raise TooManyImagesError(
            f"The request has {len(files)} images; at most {most} are taken at once."
        )
    return [_to_upload(file) for file in files]


def images_or_archive(request: Request, *, most: int) -> Iterable[Upload]:
    """The files ``images`` of the request, or the images of its one file ``archive``, read one
    after the other.
    """
    if "archive" not in request.FILES:
        return several_images(request, most=most)
    archives = request.FILES.getlist("archive")
    if len(archives) > 1 or "images" in request.FILES:
        raise TooManyImagesError("Send one archive, or images, and not both.")
    return images_in_archive(archives[0].open().file, max_images=most)


def _files(request: Request, field: str) -> list:
    files = request.FILES.getlist(field)
    if not files:
        raise MissingImageError(_what_is_missing(request, field))
    return files


def _what_is_missing(request: Request, field: str) -> str:
    if field in request.data:
        return f'The field "{field}" holds text; send files there.'
    if request.FILES:
        others = ", ".join(f'"{name}"' for name in request.FILES)
        return f'Send files in a field called "{field}"; the request has a file in {others}.'
    return f'Send files in a multipart field called "{field}".'


def _to_upload(file) -> Upload:
    """A large file already lies on disk, where the engine checks its size before reading it."""
    on_disk = hasattr(file, "temporary_file_path")
    data = Path(file.temporary_file_path()) if on_disk else file.read()
    return Upload(filename=file.name, data=data)
