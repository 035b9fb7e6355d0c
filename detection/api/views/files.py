"""Files of the folder storage. An S3 store serves its files itself."""

from __future__ import annotations

from pathlib import PurePosixPath

from django.core.files.storage import default_storage
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from detection.files import LinkError, verify_link
from detection.web import error_response, status_sentence_code

CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".avif": "image/avif",
    ".heic": "image/heic",
}


@csrf_exempt  # a POST is refused for its method, not for a missing token
@require_safe
def stored_file(request: HttpRequest, name: str) -> HttpResponseBase:
    """Return a file of the folder storage to a caller with a link that ``storage.url`` signed."""
    try:
        verify_link(name=name, signature=request.GET.get("signature", ""))
    except LinkError as error:
        return error_response(*status_sentence_code(error))
    try:
        file = default_storage.open(name)
    except FileNotFoundError:
        return error_response(404, "This file has been deleted.", "file_not_found")
    except OSError:
        return error_response(503, "The file storage cannot be reached.", "storage_unavailable")
    path = PurePosixPath(name)
    return FileResponse(
        file,
        filename=path.name,
        content_type=CONTENT_TYPES.get(path.suffix, "application/octet-stream"),
        headers={
            "Cache-Control": "private, max-age=3600",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        },
    )
