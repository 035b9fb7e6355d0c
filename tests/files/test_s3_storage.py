"""Files in an S3 store, over a socket."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
from django.core.files.base import ContentFile
from django.utils import timezone

from detection.files.storage import S3_CONFIG, PresignedS3Storage
from tests.support.servers import S3Server

pytestmark = pytest.mark.own_servers

KEY = "results/2026/11/01JDABC_result.jpg"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with S3Server(tmp_path_factory.mktemp("s3") / "data") as server:
        yield server


@pytest.fixture
def s3(server, request) -> PresignedS3Storage:
    return storage(server, bucket_name=f"bucket-{abs(hash(request.node.name))}")


def storage(server: S3Server, **options) -> PresignedS3Storage:
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    return PresignedS3Storage(**{"endpoint": server.address, "secure": False} | keys | options)


def status_of(url: str) -> int:
    try:
        with urlopen(url) as response:
            return response.status
    except HTTPError as error:
        return error.code


def test_the_bucket_is_made_with_the_first_file(s3):
    assert s3.save(KEY, ContentFile(b"picture")) == KEY

    assert s3.open(KEY).read() == b"picture"
    assert s3.listdir("results/2026/11") == ([], ["01JDABC_result.jpg"])
    assert timezone.now() - s3.get_modified_time(KEY) < timedelta(minutes=1)


def test_a_bucket_that_is_missing_has_no_files(s3):
    assert s3.listdir("results") == ([], [])
    assert not s3.exists(KEY)


def test_a_deleted_file_is_gone_and_deleting_it_again_is_no_error(s3):
    s3.save(KEY, ContentFile(b"picture"))

    s3.delete(KEY)
    s3.delete(KEY)

    assert not s3.exists(KEY)


def test_a_link_opens_the_file_and_nothing_else_does(s3):
    s3.save(KEY, ContentFile(b"picture"))
    s3.save("results/other.jpg", ContentFile(b"secret"))
    link = s3.url(KEY)

    with urlopen(link) as response:
        assert response.read() == b"picture"
    assert status_of(link.split("?")[0]) in (400, 403)  # private: not without signature
    assert status_of(link.replace(KEY, "results/other.jpg")) == 403
    assert status_of(link.replace("X-Amz-Expires=", "X-Amz-Expires=9")) == 403


def test_a_link_expires_when_the_setting_says(s3, settings):
    settings.RESULT_URL_EXPIRY = 3600

    query = parse_qs(urlsplit(s3.url(KEY)).query)

    assert query["X-Amz-Expires"] == ["3600"]
    signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(timezone.now() - signed) < timedelta(minutes=1)


def test_a_link_of_a_second_is_refused_after_it(s3, settings):
    settings.RESULT_URL_EXPIRY = 1
    s3.save(KEY, ContentFile(b"picture"))
    link = s3.url(KEY)
    time.sleep(2.2)

    assert status_of(link) in (400, 403)


def test_links_are_signed_for_the_address_that_clients_can_reach(server):
    public = storage(server, bucket_name="public", public_endpoint="https://files.example.org")

    assert public.url(KEY).startswith(f"https://files.example.org/public/{KEY}?")


def test_a_link_for_another_name_of_the_server_works_there(server):
    local = f"localhost:{server.port}"
    public = storage(server, bucket_name="public", public_endpoint=local)
    public.save(KEY, ContentFile(b"picture"))

    assert public.url(KEY).startswith(f"http://{local}/public/")
    assert status_of(public.url(KEY)) == 200


@pytest.mark.parametrize(
    ("endpoint", "secure", "url"),
    [
        ("minio:9000", True, "https://minio:9000"),
        ("minio:9000", False, "http://minio:9000"),
        ("http://minio:9000", True, "http://minio:9000"),
    ],
)
def test_an_endpoint_is_a_host_or_a_url(server, endpoint, secure, url):
    assert storage(server, endpoint=endpoint, secure=secure).endpoint_url == url


def test_a_hung_store_times_out_within_half_a_minute():
    seconds = S3_CONFIG.connect_timeout + S3_CONFIG.read_timeout

    assert seconds * S3_CONFIG.retries["total_max_attempts"] < 30


def test_two_processes_that_make_the_bucket_together_both_store(server):
    stores = [storage(server, bucket_name="race") for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        saved = list(threads.map(lambda n: stores[n].save(f"{n}.txt", ContentFile(b"x")), range(6)))

    assert sorted(stores[0].listdir("")[1]) == sorted(saved)
