"""Where images come from: folders, archives, buckets."""

from detection.sources.archives import ArchiveTooLargeError, images_in_archive
from detection.sources.buckets import (
    SCHEME,
    BucketError,
    BucketPrefix,
    StoredObject,
    list_objects,
    read_object,
    store_client,
)
from detection.sources.folders import HEAD_BYTES, Listing, list_images

__all__ = [
    "HEAD_BYTES",
    "SCHEME",
    "ArchiveTooLargeError",
    "BucketError",
    "BucketPrefix",
    "Listing",
    "StoredObject",
    "images_in_archive",
    "list_images",
    "list_objects",
    "read_object",
    "store_client",
]
