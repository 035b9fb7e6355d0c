"""Objects of the S3 store; `scan_folder --queue` is tested in tests/management."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.d3.errors import ImageError
from detection.errors import UnavailableError
from detection.sources import BucketPrefix, StoredObject, list_objects, read_object
from tests.support.settings import ON_SERVERS

pytestmark = pytest.mark.skipif(not ON_SERVERS, reason="needs TEST_PAIR=mongodb-s3")


@pytest.fixture
def listed() -> StoredObject:
    default_storage.save("incoming/photo.jpg", ContentFile(b"0123456789"))
    [found] = list_objects(BucketPrefix(default_storage.bucket_name, "incoming/"))
    return found


def test_the_bytes_of_an_object_or_some_of_them_are_read(listed):
    assert read_object(listed) == b"0123456789"
    assert read_object(listed, Range="bytes=2-3") == b"23"


def test_an_object_deleted_after_the_listing_is_reported_as_missing(listed):
    default_storage.delete(listed.key)
    with pytest.raises(ImageError, match=r"incoming/photo\.jpg is no longer in the bucket"):
        read_object(listed)


def test_an_outage_of_the_store_is_no_error_of_the_object(listed, lost_storage):
    with pytest.raises(UnavailableError):
        read_object(listed)
