"""The dashboard in a real browser: charts, keyboard, narrow screens, light and dark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.support.accessibility import serious_problems
from tests.support.browser import Watch, opened_page, overflow
from tests.support.installation import Installation

pytestmark = pytest.mark.own_servers

JUDGED_AND_REVIEWED = """
from django.core.management import call_command
from detection.models import Prediction
from detection.upkeep.recounting import rebuild_totals
from detection.records.refusals import count_refusal

call_command("scan_folder", "samples")
for number, prediction in enumerate(Prediction.objects.order_by("id")):
    Prediction.objects.filter(pk=prediction.pk).update(
        review_status=("confirmed", "overturned", "unreviewed")[number % 3]
    )
rebuild_totals()
count_refusal(code="truncated_image", source="api")
"""
# A drawn chart has pixels of several colours.
COLOURS = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""


@pytest.fixture(scope="module")
def installation(installation) -> Installation:
    """An installation with the project's samples, two of three of them reviewed."""
    code, _, complaints = installation.run("shell", "--command", JUDGED_AND_REVIEWED)
    assert code == 0, complaints
    return installation


@pytest.fixture
def dashboard(installation, service) -> Callable[..., AbstractContextManager[Page]]:
    """Open the page as a signed-in user."""

    @contextmanager
    def opened(**options) -> Iterator[Page]:
        with opened_page(storage_state=installation.signed_in("ann"), **options) as page:
            page.goto(f"{service.url}/admin/dashboard/")
            expect(page.locator("h1")).to_have_text("Dashboard")
            page.wait_for_load_state("networkidle")
            yield page

    return opened


def numbers(page: Page, table: str) -> list[list[str]]:
    """Return the rows of a table's body, also of a folded one."""
    rows = page.locator(f"#{table} tbody tr").all()
    return [[" ".join(cell.split()) for cell in row.locator("th, td").all_text_contents()]
            for row in rows]  # fmt: skip


def test_each_chart_is_drawn_from_a_table_without_other_hosts(service, dashboard):
    with dashboard() as page:
        watch = Watch.of(page, is_complaint=bool)
        page.reload(wait_until="networkidle")

        charts = page.get_by_role("img", name="the numbers are in a table below")
        assert charts.count() == 7
        for chart in charts.all():
            expect(chart).to_be_visible()
            assert chart.evaluate(COLOURS) > 2, chart.get_attribute("aria-label")
            assert page.locator(f"table#{chart.get_attribute('data-table')}").count() == 1
        assert watch == Watch([], {f"127.0.0.1:{service.port}"})


def test_it_works_with_the_keyboard(dashboard):
    with dashboard() as page:
        today = date.fromisoformat(numbers(page, "by-day")[-1][0])
        version = numbers(page, "rates")[0][0]
        page.get_by_label("From").fill(str(today - timedelta(days=2)))  # no keys: locales differ
        page.get_by_label("Model version:").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Show")).to_be_focused()
        page.keyboard.press("Enter")

        expect(page).to_have_url(re.compile(f"from={today - timedelta(days=2)}.*version={version}"))
        expect(page.get_by_label("Model version:")).to_have_value(version)
        assert len(numbers(page, "by-day")) == 3
        page.get_by_text("Numbers by day", exact=True).focus()
        page.keyboard.press("Enter")
        expect(page.locator("#by-day")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(service, dashboard, scheme):
    with dashboard(color_scheme=scheme) as page:
        assert serious_problems(page) == []
        for summary in page.locator("details summary").all():
            summary.click()
        assert serious_problems(page) == []
        page.goto(f"{service.url}/admin/dashboard/?from=2026-03-02&to=2026-03-01")
        assert serious_problems(page) == []
        page.goto(f"{service.url}/admin/")
        assert serious_problems(page) == []
        page.get_by_role("link", name="Dashboard").click()
        expect(page.locator("h1")).to_have_text("Dashboard")


def test_a_phone_scrolls_it_only_vertically(dashboard):
    with dashboard(viewport={"width": 375, "height": 667}) as page:
        for summary in page.locator("details summary").all():
            summary.click()

        assert overflow(page) <= 0
        for chart in page.locator("canvas").all():
            assert chart.bounding_box()["width"] <= 375


def test_charts_follow_the_switch_between_light_and_dark(dashboard):
    with dashboard(color_scheme="light") as page:
        chart = page.locator("canvas").first
        light = chart.evaluate("canvas => canvas.toDataURL()")

        page.locator("html").evaluate("html => { html.dataset.theme = 'dark' }")

        expect(page.locator("body")).to_have_css("background-color", "rgb(18, 18, 18)")
        assert chart.evaluate("canvas => canvas.toDataURL()") != light


def test_without_scripts_the_tables_are_the_page(dashboard):
    with dashboard(java_script_enabled=False) as page:
        expect(page.locator("canvas").first).to_be_hidden()
        expect(page.locator("#rates")).to_be_visible()
        page.get_by_text("Numbers by day", exact=True).click()
        expect(page.locator("#by-day")).to_be_visible()
