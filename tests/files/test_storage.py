from __future__ import annotations

import time
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from tests.support.factories import image_bytes

KEY = "results/2026/11/01JDABC_result.jpg"


@pytest.fixture
def link(storage_folder) -> str:
    default_storage.save(KEY, ContentFile(image_bytes()))
    return default_storage.url(KEY)


def signature_of(link: str) -> str:
    return parse_qs(urlsplit(link).query)["signature"][0]


def changed(link: str, **parameters: str) -> str:
    """The link with other query parameters."""
    parts = urlsplit(link)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | parameters
    return f"{parts.path}?{urlencode(query)}"


def test_a_link_opens_the_file_and_nothing_runs_in_it(client, link):
    response = client.get(link)

    assert response.status_code == 200
    assert b"".join(response.streaming_content) == image_bytes()
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_a_link_for_another_file_is_refused(client, link):
    default_storage.save("results/other.jpg", ContentFile(b"secret"))

    response = client.get(link.replace(KEY, "results/other.jpg"))

    assert response.status_code == 403
    assert response.json()["code"] == "link_invalid"


@pytest.mark.parametrize(
    "parameters",
    [{"signature": "x"}, {"signature": ""}, {"signature": "zzzzzz:x"}, {"signature": "٣:٣"}],
)
def test_a_changed_link_is_refused(client, link, parameters):
    response = client.get(changed(link, **parameters))

    assert response.status_code == 403
    assert response.json() == {
        "success": False,
        "error": "This link was not made by this server, or it was changed.",
        "code": "link_invalid",
    }


def test_a_link_whose_time_was_changed_is_refused(client, link):
    moment, colon, signature = signature_of(link).partition(":")

    response = client.get(changed(link, signature=f"{moment[:-1]}z{colon}{signature}"))

    assert response.json()["code"] == "link_invalid"


def test_a_link_whose_parts_are_cut_elsewhere_is_refused(client, link):
    moment, _, signature = signature_of(link).partition(":")

    response = client.get(f"/files/{KEY}:{moment}?{urlencode({'signature': signature})}")

    assert response.status_code == 403


def test_a_link_without_signature_is_refused(client, link):
    assert client.get(f"/files/{KEY}").status_code == 403


def test_an_old_link_is_refused_and_says_so(client, settings, storage_folder):
    settings.RESULT_URL_EXPIRY = -1
    default_storage.save(KEY, ContentFile(image_bytes()))

    response = client.get(default_storage.url(KEY))

    assert response.status_code == 403
    assert response.json()["code"] == "link_expired"


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

    response = client.get(link)

    assert response.status_code == 404
    assert response.json()["code"] == "file_not_found"


def test_other_methods_are_refused_in_the_envelope(link):
    response = Client(enforce_csrf_checks=True).post(link)

    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, HEAD"
    assert response.json()["code"] == "method_not_allowed"


def test_stored_files_are_private(link, storage_folder):
    assert (storage_folder / KEY).stat().st_mode & 0o777 == 0o600
