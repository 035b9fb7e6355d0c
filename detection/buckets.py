"""Images that lie in the S3 store already: found below a prefix, and copied there by the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.arrivals import refused
from detection.d3.containers import image_format
from detection.d3.decoding import check_size
from detection.d3.errors import ImageError, UnsupportedImageError
from detection.filenames import clean_filename
from detection.folders import HEAD_BYTES, IMAGE_EXTENSIONS
from detection.judging import name_of_original
from detection.leftovers import take_back
from detection.limits import image_limits
from detection.models import QueuedImage
from detection.storage import PresignedS3Storage
from detection.unavailable import StorageUnavailableError, UnavailableError, storage_errors
from detection.verification import FOLDERS, TEMPORARY

SCHEME = "s3://"
OWN_FOLDERS = (*FOLDERS, TEMPORARY, "seeded")


class BucketError(Exception):
    """Nothing can be read at this place; the message is one plain sentence."""


@dataclass(frozen=True, slots=True)
class BucketPrefix:
    """``s3://bucket/prefix`` in the configured store."""

    bucket: str
    prefix: str

    @classmethod
    def read(cls, text: str) -> Self:
        bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
        return cls(bucket, prefix)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a bucket."""

    bucket: str
    key: str
    size: int

    @property
    def is_hidden(self) -> bool:
        return any(part.startswith(".") for part in self.key.split("/"))

    @property
    def is_our_own(self) -> bool:
        """A file of the service: it grows while a scan goes on, which would never end."""
        return _is_our_own(self.bucket, self.key)

    @property
    def is_named_like_an_image(self) -> bool:
        return self.key.lower().endswith(IMAGE_EXTENSIONS)


def _is_our_own(bucket: str, key: str) -> bool:
    folder, slash, _ = key.partition("/")
    return bool(slash) and folder in OWN_FOLDERS and bucket == default_storage.bucket_name


def list_objects(place: BucketPrefix) -> Iterator[StoredObject]:
    """Every object below the prefix that is neither hidden nor our own, in the order of the keys.

    Raises BucketError, and UnavailableError when the store is down.
    """
    pages = _client().get_paginator("list_objects_v2")
    if _is_our_own(place.bucket, place.prefix):
        raise BucketError(f"{place} holds the service's own files; they are judged already.")
    try:
        for page in pages.paginate(Bucket=place.bucket, Prefix=place.prefix):
            for entry in page.get("Contents", []):
                found = StoredObject(place.bucket, entry["Key"], entry["Size"])
                if not (found.is_hidden or found.is_our_own or found.key.endswith("/")):
                    yield found
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise BucketError(f"{place} cannot be listed: {code}.") from error
    except BotoCoreError as error:
        raise StorageUnavailableError("The file storage cannot be reached.") from error


def copy_image(found: StoredObject) -> QueuedImage | None:
    """Its waiting image, as ``store_images`` makes it of an upload; None for what is no image.

    Raises UnavailableError.
    """
    image = QueuedImage(filename=clean_filename(found.key))
    try:
        name = name_of_original(filename=image.filename, image_format=_format(found))
        image.original_image = image.key("originals", name)
        _copy(found, image.original_image.name)
    except UnsupportedImageError as error:
        if not found.is_named_like_an_image:
            return None
        return refused(image, error)
    except ImageError as error:
        return refused(image, error)
    except UnavailableError as error:
        take_back(cause=error, files=image.file_keys[:1])
        raise
    return image


def _format(found: StoredObject) -> str:
    """Raises ImageError for what needs no decoding to be refused."""
    check_size(found.size, image_limits().max_bytes)
    return image_format(_read(found, Range=f"bytes=0-{HEAD_BYTES - 1}"))


def _copy(found: StoredObject, key: str) -> None:
    """By the store itself, where it can; otherwise through this process."""
    source = {"Bucket": found.bucket, "Key": found.key}
    try:
        _client().copy_object(Bucket=default_storage.bucket_name, Key=key, CopySource=source)
    except Exception:
        data = _read(found)
        with storage_errors():
            default_storage.save(key, ContentFile(data))


def _read(found: StoredObject, **options: str) -> bytes:
    """Raises ImageError for an object that has gone since it was listed."""
    client = _client()
    try:
        with storage_errors():
            response = client.get_object(Bucket=found.bucket, Key=found.key, **options)
            return response["Body"].read()
    except UnavailableError as error:
        if _is_missing(error.__cause__):
            raise ImageError(f"The object {found.key} is no longer in the bucket.") from error
        raise


def _is_missing(error: BaseException | None) -> bool:
    return isinstance(error, ClientError) and error.response["Error"]["Code"] == "NoSuchKey"


def _client() -> Any:
    if not isinstance(default_storage, PresignedS3Storage):
        raise BucketError("There is no S3 store: MINIO_ENDPOINT is not set.")
    return default_storage.connection.meta.client
