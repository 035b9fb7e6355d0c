"""Fetch images that a form names by their URLs, in the field ``image_url``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

from django.conf import settings
from rest_framework.request import Request

from detection.judging import Upload
from detection.sources import fetch_images
from detection.web.admission import one_of
from detection.web.errors import ImageUrlsOffError, RequestTooLargeError, TooManyImagesError
from detection.web.throttling import ImageUrlThrottle

MAX_FETCHING = 8  # requests at a time, so that slow hosts do not occupy all threads

_fetching = threading.BoundedSemaphore(MAX_FETCHING)


def image_urls(request: Request, *, most: int) -> list[str]:
    """Return the URLs in the field ``image_url``.

    Raises ImageUrlsOffError, TooManyImagesError.
    """
    urls = [url for url in request.POST.getlist("image_url") if url]
    if not urls:
        return []
    if not settings.ALLOW_IMAGE_URLS:
        raise ImageUrlsOffError("This service fetches no images; send the image itself.")
    if request.FILES:
        raise TooManyImagesError("Send files or image URLs, but not both.")
    if len(urls) > most:
        raise TooManyImagesError(
            f"The request has {len(urls)} image URLs; at most {most} are allowed."
        )
    return urls


def fetched_images(request: Request, urls: list[str]) -> list[Upload]:
    """Fetch the images before the request is answered. An image that cannot be fetched is an upload
    with an error.

    Raises Throttled, QueueFullError, RequestTooLargeError, StorageUnavailableError.
    """
    request.place.hold_images(len(urls))
    with one_of(_fetching, refusal="Too many images are being fetched; try again later."):
        ImageUrlThrottle().check(request, len(urls))
        return list(_fetched(request, urls))


def _fetched(request: Request, urls: list[str]) -> Iterator[Upload]:
    """Fetch the images, whose bytes count as bytes of the request."""
    left = settings.MAX_REQUEST_BYTES
    with closing(fetch_images(urls, store=request.upload_folder.store)) as uploads:
        for upload in uploads:
            if not upload.error:
                size = upload.data.stat().st_size
                request.place.hold(size_bytes=size)
                left -= size
            if left < 0:
                limit = f"{settings.MAX_REQUEST_BYTES / 2**20:.3g} MiB"
                raise RequestTooLargeError(
                    f"The images at these URLs have more than {limit} together."
                )
            yield upload
