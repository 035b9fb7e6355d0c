"""Fetch images on other servers, from URLs that clients chose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from django.conf import settings

from detection.d3.errors import ImageError
from detection.d3.images import check_size
from detection.d3.prefetching import run_ahead
from detection.files import clean_filename
from detection.judging import Upload
from detection.models import MAX_URL_LENGTH
from detection.outbound import CertificateError, NoAnswerError, UnreachableError, UrlError, exchange

MAX_REDIRECTS = 3
AT_ONCE = 4  # images of a call
IMAGE_SECONDS = 20.0  # for an image, with its redirects
CALL_SECONDS = 60.0  # for all images of a call
CHUNK = 2**16
OK = 200
REDIRECTS = (301, 302, 303, 307, 308)
HEADERS = {"User-Agent": "d3-detection"}

Store = Callable[[Iterable[bytes]], Path]


class InvalidImageUrlError(ImageError):
    """No image is fetched from this URL."""

    code = "invalid_image_url"


class ImageNotFetchedError(ImageError):
    """The host of the URL did not give the image."""

    code = "image_not_fetched"


def fetch_images(urls: Iterable[str], *, store: Store) -> Iterator[Upload]:
    """Fetch images, some at a time; yield one upload per URL in order. An image that cannot be
    fetched is an upload with an error.

    ``store`` writes the bytes of an image to a file, in several threads; what it raises is raised.
    """
    until = time.monotonic() + CALL_SECONDS
    with (
        ThreadPoolExecutor(AT_ONCE) as threads,
        closing(
            run_ahead(threads, lambda url: _fetched(url, store, until), urls, ahead=AT_ONCE)
        ) as uploads,
    ):
        yield from uploads


def _fetched(url: str, store: Store, until: float) -> Upload:
    filename = _filename(url)
    try:
        return Upload(filename, store(_content(url, until)), source_url=url)
    except ImageError as error:
        return Upload(filename, b"", error)


def _filename(url: str) -> str:
    """Return the last segment of the path, cleaned like the name of a sent file."""
    try:
        return clean_filename(unquote(urlsplit(url).path))
    except ValueError:
        return clean_filename("")


def _content(url: str, until: float) -> Iterator[bytes]:
    """Yield the bytes of the image. Raises ImageError."""
    if len(url) > MAX_URL_LENGTH:
        raise InvalidImageUrlError(f"The image URL has more than {MAX_URL_LENGTH} characters.")
    until = min(until, time.monotonic() + IMAGE_SECONDS)
    subject = "The image URL"
    for _ in range(MAX_REDIRECTS + 1):
        private = settings.IMAGE_URL_ALLOW_PRIVATE
        answered = exchange("GET", url, headers=HEADERS, until=until, allow_private=private)
        with _image_errors(subject), answered as answer:
            location = answer.headers.get("Location")
            if answer.status not in REDIRECTS or not location:
                yield from _body(answer)
                return
        try:
            url = urljoin(url, location)
        except ValueError as error:
            raise InvalidImageUrlError("The image URL redirects to an invalid URL.") from error
        subject = "The image URL redirects to a URL that"
    raise ImageNotFetchedError(f"The image URL redirects more than {MAX_REDIRECTS} times.")


def _body(answer: HTTPResponse) -> Iterator[bytes]:
    if answer.status != OK:
        raise ImageNotFetchedError(f"The host of the image URL answered {answer.status}.")
    limit, size = settings.MAX_UPLOAD_BYTES, answer.length or 0
    if size:
        check_size(size, limit)
    received = 0
    while chunk := answer.read(CHUNK):
        received += len(chunk)
        check_size(received, limit)
        yield chunk
    if received < size:
        raise NoAnswerError


@contextmanager
def _image_errors(subject: str) -> Iterator[None]:
    """Raise ImageError for errors of ``exchange``. ``subject`` begins a UrlError's sentence."""
    try:
        yield
    except UnreachableError as error:
        raise ImageNotFetchedError(f"{subject} {error}") from error
    except UrlError as error:
        raise InvalidImageUrlError(f"{subject} {error}") from error
    except CertificateError as error:
        sentence = f"The certificate of the image URL's host is not valid: {error}"
        raise ImageNotFetchedError(sentence) from error
    except NoAnswerError as error:
        sentence = "The host of the image URL sent no complete image in time."
        raise ImageNotFetchedError(sentence) from error
