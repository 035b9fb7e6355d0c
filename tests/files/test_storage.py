from __future__ import annotations

import time
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from tests.support.api import assert_refused
from tests.support.factories import image_bytes

KEY = "results/2026/11/01JDABC_result.jpg"


@pytest.fixture
def link(storage_folder) -> str:
    default_storage.save(KEY, ContentFile(image_bytes()))
    return default_storage.url(KEY)


def test_a_link_opens_the_file_and_nothing_runs_in_it(client, link):
    response = client.get(link)

    assert response.status_code == 200
    assert b"".join(response.streaming_content) == image_bytes()
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


CHANGED = {
    "no signature": "/files/{key}",
    "an empty signature": "/files/{key}?signature=",
    "another signature": "/files/{key}?signature=x",
    "another time and signature": "/files/{key}?signature=zzzzzz:x",
    "other digits": "/files/{key}?signature=٣:٣",
    "another time": "/files/{key}?signature={time}0:{rest}",
    "parts that are cut elsewhere": "/files/{key}:{time}?signature={rest}",
    "another file": "/files/results/other.jpg?signature={time}:{rest}",
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_changed_link_is_refused(client, link, change):
    default_storage.save("results/other.jpg", ContentFile(b"secret"))
    time, _, rest = parse_qs(urlsplit(link).query)["signature"][0].partition(":")

    response = client.get(change.format(key=KEY, time=time, rest=quote(rest)))

    sentence = assert_refused(response, 403, "link_invalid")
    assert sentence == "This link was not made by this server, or it was changed."


def test_an_old_link_is_refused_and_says_so(client, settings, storage_folder):
    settings.RESULT_URL_EXPIRY = -1
    default_storage.save(KEY, ContentFile(image_bytes()))

    response = client.get(default_storage.url(KEY))

    assert_refused(response, 403, "link_expired")


def test_a_link_expires_after_the_time_that_is_set(client, settings, link, monkeypatch):
    settings.RESULT_URL_EXPIRY = 3600
    start = time.time()

    def status_after(seconds: int) -> int:
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: start + seconds)
            return client.get(link).status_code

    assert [status_after(seconds) for seconds in (3590, 3610)] == [200, 403]


def test_the_link_of_a_deleted_file_leads_nowhere(client, link):
    default_storage.delete(KEY)

    assert_refused(client.get(link), 404, "file_not_found")


def test_other_methods_are_refused(link):
    response = Client(enforce_csrf_checks=True).post(link)

    assert_refused(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD"


def test_stored_files_are_private(link, storage_folder):
    assert (storage_folder / KEY).stat().st_mode & 0o777 == 0o600
