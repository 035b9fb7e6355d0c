"""Sources of images: folders, archives, buckets, URLs."""

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
from detection.sources.candidates import HEAD_BYTES
from detection.sources.folders import Listing, list_images
from detection.sources.image_urls import fetch_images
