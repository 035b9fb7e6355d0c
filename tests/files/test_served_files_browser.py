"""Stored files in a real browser: markup in their texts does not run."""

from __future__ import annotations

import pytest
import requests
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page

from tests.support.browser import opened_page
from tests.support.image_files import encoded, picture
from tests.support.installation import Service

pytestmark = pytest.mark.own_servers

MARK = "was-run"
MARKUP = f"<html><script>fetch('/{MARK}')</script><iframe src='/{MARK}'></iframe>"


@pytest.fixture
def page():
    with opened_page() as page:
        yield page


def with_markup(name: str) -> bytes:
    """Return a picture with the markup of a web page in its metadata."""
    if name == "JPEG":
        return encoded(picture(), "JPEG", comment=MARKUP.encode())
    text = PngInfo()
    text.add_text("prompt", MARKUP)
    return encoded(picture(), "PNG", pnginfo=text)


def requested(page: Page, link: str) -> list[str]:
    """Open the link as a page, then as a frame, a script and a style of another page. Return the
    requested paths.
    """
    paths: list[str] = []
    page.on("request", lambda request: paths.append(request.url.split("/", 3)[3]))
    page.goto(link, wait_until="networkidle")
    page.set_content(
        f"<iframe src='{link}'></iframe><script src='{link}'></script>"
        f"<link rel='stylesheet' href='{link}'>",
        wait_until="networkidle",
    )
    return paths


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_markup_in_a_picture_does_not_run(service: Service, page: Page, name):
    data = with_markup(name)
    answer = requests.post(f"{service.url}/api/predict/", files={"image": ("a.png", data)})
    record = requests.get(f"{service.url}/api/predictions/{answer.json()['id']}/").json()
    links = [record["storage"]["original_url"], record["storage"]["minio_url"]]

    assert requests.get(links[0]).content == data
    for link in links:
        headers = requests.get(link).headers
        assert headers["Content-Type"].startswith("image/")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in headers["Content-Security-Policy"]
        paths = requested(page, link)
        assert paths
        assert not [path for path in paths if MARK in path]


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_the_same_bytes_as_a_web_page_would_run(service: Service, page: Page, name):
    link = f"{service.url}/as-a-page"
    page.route(link, lambda route: route.fulfill(body=with_markup(name), content_type="text/html"))

    assert [path for path in requested(page, link) if MARK in path]
