"""Swagger UI in a real browser, and the browsable API."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import Watch, opened_page
from tests.support.factories import image_bytes
from tests.support.installation import Service

pytestmark = pytest.mark.own_servers


@pytest.fixture
def page():
    with opened_page() as page:
        yield page


def watched(page: Page, url: str) -> Watch:
    """Open the page."""
    watch = Watch.of(page)
    page.goto(url, wait_until="networkidle")
    return watch


@pytest.mark.parametrize("path", ["docs", "apidocs", "api/docs/"])
def test_swagger_is_served_without_other_hosts(service: Service, page: Page, path):
    watch = watched(page, f"{service.url}/{path}")

    assert watch == Watch([], {f"127.0.0.1:{service.port}"})
    expect(page.get_by_text("Judge one image")).to_be_visible()


def tried_out(page: Page, image: Path) -> Locator:
    """Send the file with Swagger UI; return the answer that it shows."""
    operation = page.locator(".opblock").filter(has_text="Judge one image")
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator('input[type="file"]').set_input_files(image)
    operation.get_by_role("button", name="Execute").click()
    return operation.locator(".live-responses-table .response").first


def test_try_it_out_judges_a_file(service: Service, page: Page, tmp_path):
    image = tmp_path / "holiday.jpg"
    image.write_bytes(image_bytes())
    watch = watched(page, f"{service.url}/docs")

    answer = tried_out(page, image)

    expect(answer.locator(".response-col_status")).to_contain_text("200")
    expect(answer).to_contain_text('"filename": "holiday.jpg"')
    expect(answer).to_contain_text('"label"')
    assert watch.said == []


def test_try_it_out_shows_the_error_of_a_file_that_is_no_image(service, page, tmp_path):
    notes = tmp_path / "notes.jpg"
    notes.write_bytes(b"just some text, long enough to be a file")
    page.goto(f"{service.url}/docs", wait_until="networkidle")

    answer = tried_out(page, notes)

    expect(answer.locator(".response-col_status")).to_contain_text("415")
    expect(answer).to_contain_text("unsupported_image_type")


def test_the_browsable_api_shows_its_parts_to_a_browser(service: Service, page: Page):
    watch = watched(page, f"{service.url}/api/")

    for name in ("predict", "batches", "predictions", "statistics"):
        expect(page.locator("pre.prettyprint").last).to_contain_text(f"/api/{name}")
    assert watch.hosts == {f"127.0.0.1:{service.port}"}
    page.goto(f"{service.url}/api/statistics/")
    expect(page.locator("body")).to_contain_text("total_predictions")
