"""The lists of the admin in a real browser."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Locator, Page, expect

from detection.models import new_id
from tests.support.accessibility import serious_problems
from tests.support.browser import Watch, opened_page, overflow
from tests.support.factories import image_bytes
from tests.support.installation import Installation, Service

pytestmark = pytest.mark.own_servers

LIST = "/admin/detection/prediction/"


@pytest.fixture(scope="module")
def installation(installation, tmp_path_factory) -> Installation:
    """Sixty judged images, one of them from long ago, in a batch."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(60):
        (folder / f"picture {number}.jpg").write_bytes(image_bytes(seed=number))
    assert installation.run("scan_folder", folder)[0] == 0
    old = new_id(datetime(2020, 1, 1, 12, tzinfo=UTC))
    installation.query(
        f"update predictions set _id = '{old}', created_at = '2020-01-01 12:00:00'"
        " where original_filename = 'picture 7.jpg'"
    )
    installation.query(f"update file_names set id = '{old}' where name = 'picture 7.jpg'")
    return installation


@pytest.fixture(params=["light", "dark"])
def page(request, installation, service):
    """A signed-in page. Errors and broken content policies in its console fail the test."""
    with opened_page(
        viewport={"width": 1280, "height": 800},
        color_scheme=request.param,
        base_url=service.url,
        storage_state=installation.signed_in("ann"),
    ) as page:
        watch = Watch.of(page)
        yield page
    assert watch.said == []


def names(page: Page) -> Locator:
    return page.locator("#result_list .field-file_name")


def test_records_are_searched_and_decided(service: Service, page: Page):
    page.goto(LIST)
    expect(names(page)).to_have_count(50)
    expect(page.locator("#result_list img").first).to_have_js_property("complete", value=True)
    page.get_by_role("link", name="Older →").click()
    expect(names(page)).to_have_count(10)
    expect(names(page).last).to_have_text("picture 7.jpg")

    page.get_by_role("link", name="Today").click()
    expect(page.get_by_label("From")).to_have_value(f"{datetime.now(UTC):%Y-%m-%d}")
    page.get_by_label("From").fill("2020-01-01")
    page.get_by_label("To", exact=True).fill("2020-01-01")
    page.get_by_role("button", name="Filter by time").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)

    page.get_by_label("Search", exact=True).fill("PICTURE 7")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**q=PICTURE**")
    expect(page.get_by_label("To", exact=True)).to_have_value("2020-01-01")
    expect(names(page)).to_have_text(["picture 7.jpg"])

    page.locator("#result_list tbody input[type=checkbox]").check()
    page.get_by_label("Action:").select_option("confirm")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("1 prediction confirmed.")).to_be_visible()
    expect(page.locator("#result_list .field-review_status")).to_have_text("Confirmed")


@pytest.mark.parametrize("width", [1280, 375])
def test_the_lists_are_accessible(service: Service, page: Page, width):
    page.set_viewport_size({"width": width, "height": 800})
    for path in (f"{LIST}?q=picture+1", "/admin/detection/predictionbatch/"):
        page.goto(path)  # few rows: further ones are alike, and slow
        assert serious_problems(page) == []
        first = page.locator("#result_list th a").first
        first.click()
        page.wait_for_url(re.compile("/change/"))
        assert serious_problems(page) == []
        assert overflow(page) == 0


def test_the_other_pages_of_the_admin_are_accessible(page: Page):
    page.goto(f"{LIST}?q=picture+1")
    page.locator("#result_list tbody input[type=checkbox]").first.check()
    page.get_by_label("Action:").select_option("delete_selected")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_text("Are you sure")).to_be_visible()
    assert serious_problems(page) == []
    for path in (
        "/admin/",
        "/admin/detection/accesstoken/",
        "/admin/detection/accesstoken/add/",
        "/admin/auth/user/",
    ):
        page.goto(path)
        assert serious_problems(page) == []
    page.goto("/admin/")
    page.get_by_role("button", name="Log out").click()
    page.goto("/admin/login/")
    assert serious_problems(page) == []
