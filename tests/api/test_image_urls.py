"""Images that a form names by their URLs, in the field ``image_url``."""

from __future__ import annotations

import pytest
from django.utils.html import escape

from detection.judging import rejudge
from detection.models import Prediction, QueuedImage
from detection.queue import judge_batch
from tests.support.api import BATCHES, a_file, assert_nothing_stored, assert_refused, fetched
from tests.support.image_server import IMAGE
from tests.support.reviewing import url

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("tiny_checkpoint", "own_pictures", "nothing_counted"),
]

PREDICT = "/api/predict/"


@pytest.mark.parametrize("path", ["/predict", PREDICT])
def test_an_image_is_judged_by_its_url(client, server, path):
    address = server.url("/news/flood%20%231.png?size=large")

    response = client.post(path, {"image_url": address})

    body = response.json()
    assert response.status_code == 200
    assert body["filename"] == "flood #1.png"
    assert body["source_url"] == address
    assert body["image_info"]["format"] == "JPEG"
    stored = Prediction.objects.get()
    assert (stored.source, stored.source_url) == ("api", address)
    assert stored.original_image.read() == IMAGE
    record = client.get(f"/api/predictions/{body['id']}/").json()
    assert record["source_url"] == address
    assert fetched(client, record["storage"]["original_url"]) == IMAGE


def test_an_uploaded_image_has_no_url(client):
    body = client.post(PREDICT, {"image": a_file(), "image_url": ""}).json()

    assert body["source_url"] is None
    assert client.get(f"/api/predictions/{body['id']}/").json()["source_url"] is None


def test_options_work_as_for_files(client, server, stored_files):
    options = {"store": "false", "threshold": "0"}
    body = client.post(PREDICT, {"image_url": server.url(), **options}).json()

    assert (body["id"], body["prediction"]["label"]) == (None, "FAKE")
    assert_nothing_stored(stored_files)
    wrong = client.post(PREDICT, {"image_url": server.url(), "threshold": "high"})
    assert_refused(wrong, 400, "invalid")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/status/404", 400, "image_not_fetched"),
        ("/to/http://169.254.169.254/", 400, "image_not_fetched"),
        ("/to/ftp://127.0.0.1/", 400, "invalid_image_url"),
        ("/text", 415, "unsupported_image_type"),
        ("/empty", 400, "empty_image"),
    ],
)
def test_a_url_without_an_image_is_refused_and_nothing_stored(
    client, server, stored_files, path, status, code
):
    assert_refused(client.post(PREDICT, {"image_url": server.url(path)}), status, code)

    assert_nothing_stored(stored_files)


def test_too_large_images_are_refused(client, server, settings):
    settings.MAX_UPLOAD_BYTES = 1000

    response = client.post(PREDICT, {"image_url": server.url()})

    assert_refused(response, 413, "image_too_large")


@pytest.mark.parametrize("path", [PREDICT, BATCHES])
def test_urls_are_refused_unless_they_are_allowed(client, server, settings, path):
    settings.ALLOW_IMAGE_URLS = False

    sentence = assert_refused(client.post(path, {"image_url": server.url()}), 403, "image_urls_off")

    assert sentence == "This service fetches no images; send the image itself."
    assert server.requests == []


def test_a_form_with_a_url_and_a_file_is_refused(client, server):
    for path, field in ((PREDICT, "image"), (BATCHES, "images"), (BATCHES, "archive")):
        form = {"image_url": server.url(), field: a_file(), "async": "true"}
        assert_refused(client.post(path, form), 400, "too_many_images")
    two = client.post(PREDICT, {"image_url": [server.url(), server.url()]})
    assert_refused(two, 400, "invalid")
    assert server.requests == []


# Batches


def test_a_bad_url_does_not_affect_the_others(client, server):
    urls = [server.url("/a.jpg"), server.url("/status/404"), "no url", server.url("/b.jpg")]

    body = client.post(BATCHES, {"image_url": urls}).json()

    assert (body["total_images"], body["successful"], body["failed"]) == (4, 2, 2)
    results = [(each["index"], each["filename"], each["source_url"]) for each in body["results"]]
    assert results == [(0, "a.jpg", urls[0]), (3, "b.jpg", urls[3])]
    errors = [(each["index"], each["filename"], each["code"]) for each in body["errors"]]
    assert errors == [(1, "404", "image_not_fetched"), (2, "no url", "invalid_image_url")]


def test_a_batch_has_at_most_fifty_urls(client, server):
    response = client.post(BATCHES, {"image_url": [server.url()] * 51, "async": "true"})

    sentence = assert_refused(response, 400, "too_many_images")
    assert "51 image URLs; at most 50" in sentence
    assert server.requests == []


def test_the_images_of_a_request_share_its_limit(client, server, settings, stored_files):
    settings.MAX_REQUEST_BYTES = 3 * len(IMAGE) + 1
    urls = [server.url()] * 4
    assert client.post(BATCHES, {"image_url": urls[:3], "store": "false"}).status_code == 200

    response = client.post(BATCHES, {"image_url": urls})

    assert "together" in assert_refused(response, 413, "request_too_large")
    assert_nothing_stored(stored_files)


@pytest.mark.usefixtures("no_judging")
def test_images_of_a_queued_batch_are_fetched_before_the_answer(client, server):
    urls = [server.url("/a.jpg"), server.url("/status/404")]

    opened = client.post(BATCHES, {"image_url": urls, "async": "true", "more": "true"})

    assert opened.status_code == 202
    assert len(server.requests) == 2
    place = opened.headers["Location"]
    added = client.post(f"{place}/images/", {"image_url": [server.url("/b.jpg")]})
    assert (added.status_code, added.json()["total_images"]) == (202, 3)
    assert QueuedImage.objects.get(batch_index=0).source_url == urls[0]
    requests = len(server.requests)

    judge_batch(batch_id=opened.json()["batch_id"])

    body = client.get(place).json()
    assert len(server.requests) == requests
    assert [each["source_url"] for each in body["results"]] == [urls[0], server.url("/b.jpg")]
    assert [each["code"] for each in body["errors"]] == ["image_not_fetched"]


# The throttle


def test_urls_have_a_throttle_of_their_own(client, server, rates):
    rates["image_url"] = "3/min"

    batch = client.post(BATCHES, {"image_url": [server.url()] * 2, "store": "false"})
    assert batch.status_code == 200
    assert client.post(PREDICT, {"image_url": server.url("/status/404")}).status_code == 400
    refused = client.post(PREDICT, {"image_url": server.url()})
    assert_refused(refused, 429, "throttled")
    assert int(refused.headers["Retry-After"]) <= 60
    assert len(server.requests) == 3
    assert client.post(PREDICT, {"image": a_file(), "store": "false"}).status_code == 200


def test_fetched_images_count_as_images_too(client, server, rates):
    rates["predict"] = "1/min"

    assert client.post(PREDICT, {"image_url": server.url()}).status_code == 200
    assert_refused(client.post(PREDICT, {"image_url": server.url()}), 429, "throttled")
    assert len(server.requests) == 1


# Where the URL is shown


def test_the_url_is_text_on_pages_and_never_a_link(admin_client, server):
    address = server.url("/a.jpg?x=1&y=<script>")
    body = admin_client.post(PREDICT, {"image_url": address}).json()
    prediction = Prediction.objects.get(pk=body["id"])
    shown = escape(address)

    for place in (
        url(prediction),
        f"/history/{prediction.pk}/",
        f"/admin/detection/prediction/{prediction.pk}/change/",
    ):
        page = admin_client.get(place).content.decode()
        assert shown in page
        assert f'"{shown}"' not in page  # of no attribute


def test_judging_again_keeps_the_url(client, server):
    client.post(PREDICT, {"image_url": server.url("/a.jpg")})
    Prediction.objects.update(model_version="an older one")

    [rejudged] = rejudge(predictions=Prediction.objects.all())

    assert rejudged.verdict.source_url == server.url("/a.jpg")
