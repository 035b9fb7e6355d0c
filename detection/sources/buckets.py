"""List and read the objects of the S3 store below a prefix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.storage import default_storage

from detection.d3.errors import ImageError
from detection.errors import ServiceError, StorageUnavailableError, storage_errors
from detection.files import FOLDERS, TEMPORARY, PresignedS3Storage
from detection.sources.candidates import is_named_like_an_image

SCHEME = "s3://"
OWN_FOLDERS = (*FOLDERS, TEMPORARY, "seeded")


class BucketError(ServiceError):
    """The bucket cannot be read, or there is no S3 store."""


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
    def is_named_like_an_image(self) -> bool:
        return is_named_like_an_image(self.key)


def _is_our_own(bucket: str, key: str) -> bool:
    """Return whether the object is a file of the service. A scan of the service's own files would
    not end, since each image that it reads adds another one.
    """
    folder, slash, _ = key.partition("/")
    return bool(slash) and folder in OWN_FOLDERS and bucket == default_storage.bucket_name


def list_objects(place: BucketPrefix) -> Iterator[StoredObject]:
    """Yield the objects below the prefix in the order of their keys, without hidden ones and files
    of the service.

    Raises BucketError, and UnavailableError when the store is down.
    """
    pages = store_client().get_paginator("list_objects_v2")
    if _is_our_own(place.bucket, place.prefix):
        raise BucketError(f"{place} holds the service's own files; they are judged already.")
    try:
        for page in pages.paginate(Bucket=place.bucket, Prefix=place.prefix):
            for entry in page.get("Contents", []):
                found = StoredObject(place.bucket, entry["Key"], entry["Size"])
                if not (
                    found.is_hidden
                    or _is_our_own(found.bucket, found.key)
                    or found.key.endswith("/")
                ):
                    yield found
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise BucketError(f"{place} cannot be listed: {code}.") from error
    except BotoCoreError as error:
        raise StorageUnavailableError("The file storage cannot be reached.") from error


def read_object(found: StoredObject, **options: str) -> bytes:
    """Return the bytes. Raises ImageError for an object that was deleted since it was listed."""
    client = store_client()
    with storage_errors(), suppress(client.exceptions.NoSuchKey):
        return client.get_object(Bucket=found.bucket, Key=found.key, **options)["Body"].read()
    raise ImageError(f"The object {found.key} is no longer in the bucket.")


def store_client() -> Any:
    """Return boto3's client of the configured store. Raises BucketError when there is none."""
    if not isinstance(default_storage, PresignedS3Storage):
        raise BucketError("There is no S3 store: MINIO_ENDPOINT is not set.")
    return default_storage.connection.meta.client
