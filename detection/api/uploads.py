"""From a multipart request to an upload, refusing what is too large before it is read."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from rest_framework.request import Request

from detection.api.errors import (
    LengthRequiredError,
    MissingImageError,
    NotAFormError,
    RequestTooLargeError,
    TooManyImagesError,
)
from detection.services import Upload

FORM_OVERHEAD = 2**20  # bytes of a multipart body beside its file: boundaries, names, fields
CHUNK = 2**16


def check_request(request: Request, *, images: int = 1) -> None:
    """Refuses a body that is no form, or too large for its images; call it before reading any."""
    if request.content_type and not request.content_type.startswith("multipart/form-data"):
        raise NotAFormError
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise LengthRequiredError
    size = int(request.headers.get("Content-Length") or 0)
    allowed = images * settings.MAX_UPLOAD_BYTES + FORM_OVERHEAD
    if size <= allowed:
        return
    if size <= 4 * allowed:
        _discard_body(request)
    limit = _mebibytes(settings.MAX_UPLOAD_BYTES)
    raise RequestTooLargeError(f"The request has {_mebibytes(size)}; an image may have {limit}.")


def _discard_body(request: Request) -> None:
    """Most clients read no answer before they have sent everything."""
    while request.stream.read(CHUNK):
        pass


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.3g} MiB"


def single_image(request: Request) -> Upload:
    """The one file of the request, which must be in the field ``image``."""
    files = request.FILES.getlist("image")
    if not files:
        raise MissingImageError(_what_came_instead(request))
    if len(files) > 1:
        raise TooManyImagesError
    return _to_upload(files[0])


def _what_came_instead(request: Request) -> str | None:
    if "image" in request.data:
        return 'The field "image" holds text; send the image there as a file.'
    if request.FILES:
        fields = ", ".join(f'"{field}"' for field in request.FILES)
        return f'Send the image in a field called "image"; the request has a file in {fields}.'
    return None


def _to_upload(file) -> Upload:
    """A large file already lies on disk, where the engine checks its size before reading it."""
    on_disk = hasattr(file, "temporary_file_path")
    data = Path(file.temporary_file_path()) if on_disk else file.read()
    return Upload(filename=file.name, data=data)
