"""The front page and its neighbours in a real browser."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.accessibility import serious_problems
from tests.support.browser import Watch, opened_page, overflow
from tests.support.factories import image_bytes
from tests.support.installation import PASSWORD, Installation, Service
from tests.support.provenance import MIDJOURNEY, picture_with

pytestmark = pytest.mark.own_servers

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 375, "height": 667}
SCREENS = [(viewport, scheme) for viewport in (DESKTOP, PHONE) for scheme in ("light", "dark")]
seeds = count()
VERDICT = re.compile("Probably|Not certain")


@pytest.fixture
def page(service: Service) -> Iterator[Page]:
    """The front page. Errors in its console, and requests to other hosts, fail the test."""
    with opened_page() as page:
        watch = Watch.of(page, lambda line: is_complaint(line, service.url))
        page.goto(service.url)
        yield page
    assert watch == Watch([], {f"127.0.0.1:{service.port}"})


def is_complaint(message, url: str) -> bool:
    """Leave out the browser's own messages about refused requests, which the page shows itself."""
    refused = message.text.startswith("Failed to load resource") and (
        message.location["url"] == f"{url}/" or message.location["url"].endswith("/heatmap")
    )
    return message.type in ("error", "warning") and not refused


@pytest.fixture
def images(tmp_path) -> list[Path]:
    """Two new pictures, and between them a text file with a picture's name."""
    paths = [tmp_path / name for name in ("first.jpg", "notes.jpg", "last.png")]
    paths[0].write_bytes(image_bytes(seed=next(seeds)))
    paths[1].write_text("just some text, long enough to be a file")
    paths[2].write_bytes(picture_with(texts={"Description": MIDJOURNEY}, seed=next(seeds)))
    return paths


def picker(page: Page) -> Locator:
    return page.get_by_label("Choose images")


def card(page: Page, name: str) -> Locator:
    return page.locator(".cards > li").filter(has=page.locator(".file", has_text=name)).first


def expect_verdict(page: Page, name: str) -> None:
    expect(card(page, name).locator(".verdict")).to_have_text(VERDICT)


def heading_order(page: Page) -> list[str]:
    return page.locator(".cards .file").all_inner_texts()


def test_several_images_are_judged_and_one_is_refused(page: Page, images):
    picker(page).set_input_files(images)

    expect_verdict(page, "first.jpg")
    expect_verdict(page, "last.png")
    expect(card(page, "notes.jpg").locator(".problem-place")).to_contain_text("not an image")
    expect(card(page, "notes.jpg").get_by_role("button", name="Try again")).to_be_hidden()
    expect(page.get_by_text("3 of 3 done")).to_be_visible()
    assert heading_order(page) == ["first.jpg", "notes.jpg", "last.png"]
    expect(card(page, "first.jpg")).to_contain_text("What this means")
    expect(
        card(page, "first.jpg").get_by_role("img", name=re.compile("Fake score"))
    ).to_be_visible()

    card(page, "first.jpg").get_by_role("link", name="Open the record").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("first.jpg")


def test_later_images_stand_above_earlier_ones(page: Page, images):
    picker(page).set_input_files(images[0])
    expect_verdict(page, "first.jpg")
    picker(page).set_input_files([images[2], images[1]])
    expect_verdict(page, "last.png")

    assert heading_order(page) == ["last.png", "notes.jpg", "first.jpg"]


def test_the_page_works_with_the_keyboard_alone(page: Page, images):
    page.on("filechooser", lambda chooser: chooser.set_files(images))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(picker(page)).to_be_focused()
    page.keyboard.press("Enter")
    expect_verdict(page, "first.jpg")
    expect(picker(page)).to_be_focused()

    page.keyboard.press("Tab")
    expect(card(page, "first.jpg").locator(".picture-link")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Evidence map of first.jpg")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/history/.{26}/$"))


def test_a_screen_reader_announces_each_result(page: Page, images):
    said: list[str] = []

    def heard(words: str) -> None:
        said.append(words)

    page.expose_function("heard", heard)
    page.evaluate(
        """() => {
            const place = document.querySelector('[role=status]');
            new MutationObserver(() => heard(place.textContent)).observe(place, {childList: true});
        }"""
    )

    picker(page).set_input_files(images)
    expect(page.get_by_text("3 of 3 done")).to_be_visible()

    assert "3 images are being sent." in said
    assert any(re.match("first.jpg: (Probably|Cannot)", words) for words in said)
    assert any(words.startswith("notes.jpg: not judged. This file") for words in said)


def give(page: Page, kind: str, image: Path) -> None:
    """Drop or paste the file, by the events that a browser sends."""
    page.evaluate(
        """([kind, name, data]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, {type: 'image/jpeg'}));
            const event = (type) => type === 'paste'
                ? new ClipboardEvent(type, {clipboardData: transfer, bubbles: true})
                : new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true});
            for (const type of kind === 'paste' ? ['paste'] : kind.split(' '))
                document.querySelector('h1').dispatchEvent(event(type));
        }""",
        [kind, image.name, base64.b64encode(image.read_bytes()).decode()],
    )


def test_an_image_can_be_dropped_anywhere(page: Page, images):
    give(page, "dragenter dragover", images[0])
    expect(page.get_by_text("Drop to judge")).to_be_visible()

    give(page, "drop", images[0])
    expect(page.get_by_text("Drop to judge")).to_be_hidden()
    expect_verdict(page, "first.jpg")


def test_a_drag_that_leaves_changes_nothing(page: Page, images):
    give(page, "dragenter dragenter dragleave dragleave", images[0])

    expect(page.get_by_text("Drop to judge")).to_be_hidden()
    assert heading_order(page) == []


def test_an_image_can_be_pasted(page: Page, images):
    give(page, "paste", images[0])

    expect_verdict(page, "first.jpg")


def route_images(page: Page, handle: Callable[[Route], None]) -> None:
    """Let ``handle`` answer the requests that send images."""
    page.route(
        page.url,
        lambda route: handle(route) if route.request.method == "POST" else route.continue_(),
    )


def route_first_image(page: Page, handle: Callable[[Route], None]) -> None:
    left = [handle]
    route_images(page, lambda route: left.pop()(route) if left else route.continue_())


def test_at_most_two_images_are_sent_at_a_time(page: Page, tmp_path):
    held: list[Route] = []
    route_images(page, held.append)
    paths = [tmp_path / f"{number}.jpg" for number in range(4)]
    for path in paths:
        path.write_bytes(image_bytes(seed=next(seeds)))

    picker(page).set_input_files(paths)

    expect(page.get_by_text("Queued")).to_have_count(2)
    expect(page.get_by_role("progressbar")).to_have_count(4)
    page.wait_for_timeout(300)
    assert len(held) == 2
    held[0].continue_()
    expect_verdict(page, "0.jpg")
    expect(page.get_by_text("Queued")).to_have_count(1)
    assert len(held) == 3


JSON = {"content_type": "application/json"}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"status": 503, "body": '<p class="problem">No storage.</p>'}, "No storage."),
        ({"status": 503, "body": '{"error": "No database."}', **JSON}, "No database."),
        ({"status": 429, "body": '{"error": "Too many."}', **JSON}, "Too many."),
        ({"status": 502, "body": "<h1>Bad gateway</h1>"}, "does not understand"),
    ],
)
def test_a_temporary_error_can_be_retried(page: Page, images, answer, sentence):
    route_first_image(page, lambda route: route.fulfill(**answer))
    picker(page).set_input_files(images[0])
    expect(card(page, "first.jpg").locator(".problem-place")).to_contain_text(sentence)

    page.get_by_role("button", name="Try again").click()
    expect_verdict(page, "first.jpg")
    expect(card(page, "first.jpg").locator(".file")).to_be_focused()


def test_a_lost_network_is_reported_in_a_sentence(page: Page, images):
    route_first_image(page, lambda route: route.abort())
    picker(page).set_input_files(images[0])
    expect(card(page, "first.jpg").locator(".problem-place")).to_contain_text("cannot be reached")

    page.get_by_role("button", name="Try again").click()
    expect_verdict(page, "first.jpg")


def test_a_server_that_asks_for_a_pause_gets_one(page: Page, images):
    moments: list[float] = []

    def answer(route: Route) -> None:
        moments.append(time.monotonic())
        if len(moments) > 2:
            return route.continue_()
        headers = {"Retry-After": "3"}
        return route.fulfill(status=429, body='{"error": "Too many."}', headers=headers)

    route_images(page, answer)
    picker(page).set_input_files([images[0], images[0], images[2]])

    expect_verdict(page, "last.png")
    expect(page.get_by_text("Too many.")).to_have_count(2)
    assert moments[2] - moments[1] > 2.9


def test_a_pause_ends_though_the_clock_is_set_back(page: Page, images):
    def answer(route: Route) -> None:
        first = next(answers) == 0
        headers = {"Retry-After": "1"}
        route.fulfill(status=429, body="", headers=headers) if first else route.continue_()

    answers = count()
    route_images(page, answer)
    picker(page).set_input_files(images[0])
    expect(card(page, "first.jpg").get_by_role("button", name="Try again")).to_be_visible()
    page.evaluate("() => { const now = Date.now; Date.now = () => now() - 3600000; }")

    page.get_by_role("button", name="Try again").click()

    expect_verdict(page, "first.jpg")


def test_the_evidence_is_shown_and_hidden_again(page: Page, images):
    picker(page).set_input_files(images[0])
    expect_verdict(page, "first.jpg")
    shown = card(page, "first.jpg")
    picture, verdict = shown.locator(".picture"), shown.locator(".picture").get_attribute("src")

    button = shown.get_by_role("button", name="Evidence map")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(picture).to_have_attribute("src", re.compile("^blob:"))
    expect(picture).to_have_attribute("alt", "Where the evidence lies in first.jpg")
    expect(shown.get_by_text("evidence for FAKE")).to_be_visible()
    picture.evaluate("image => image.decode()")

    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(picture).to_have_attribute("src", verdict)


def test_missing_evidence_is_reported_in_a_sentence(page: Page, images):
    picker(page).set_input_files(images[0])
    expect_verdict(page, "first.jpg")
    answer = {"status": 409, "body": '{"error": "Another model judged this."}', **JSON}
    page.route("**/heatmap", lambda route: route.fulfill(**answer))

    page.get_by_role("button", name="Evidence map").click()

    expect(page.get_by_role("alert")).to_have_text("Another model judged this.")
    expect(page.get_by_role("button", name="Evidence map")).to_have_attribute(
        "aria-pressed", "false"
    )


def test_without_its_script_the_page_accepts_one_image(service: Service, images):
    with opened_page(java_script_enabled=False) as page:
        page.goto(service.url)
        expect(page.get_by_text("Drop images")).to_be_hidden()
        page.get_by_label("Choose an image").set_input_files(images[0])
        page.get_by_role("button", name="Judge the image").click()
        expect_verdict(page, "first.jpg")
        assert VERDICT.search(page.title())

        page.get_by_label("Choose an image").set_input_files(images[1])
        page.get_by_role("button", name="Judge the image").click()
        expect(card(page, "notes.jpg")).to_contain_text("not an image")


def test_a_signed_in_user_sends_and_finds_images(images, tmp_path, tiny_checkpoint):
    installation = Installation(tmp_path / "users", tiny_checkpoint, API_ACCESS="token")
    installation.make_database("ann")
    with installation.served() as closed, opened_page() as page:
        page.goto(f"{closed.url}/history/")
        page.get_by_label("User name").fill("ann")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("No image has been judged yet")).to_be_visible()

        page.get_by_role("link", name="Judge an image").click()
        picker(page).set_input_files(images[0])
        expect_verdict(page, "first.jpg")
        page.context.clear_cookies()
        picker(page).set_input_files(images[2])
        expect(card(page, "last.png")).to_contain_text("Sign in again")


def test_every_page_is_accessible(service: Service, images):
    """Check that no page has a serious problem of accessibility, or is wider than the screen."""
    with opened_page(reduced_motion="reduce") as page:

        def expect_usable() -> None:
            for viewport, scheme in SCREENS:
                page.set_viewport_size(viewport)
                page.emulate_media(color_scheme=scheme)
                assert serious_problems(page) == []
                assert overflow(page) <= 0

        page.goto(service.url)
        expect_usable()
        picker(page).set_input_files(images)
        expect(page.get_by_text("3 of 3 done")).to_be_visible()
        card(page, "last.png").get_by_text("What the file says of its origin").click()
        expect(page.get_by_text("A lighthouse at dusk")).to_be_visible()
        expect_usable()
        page.get_by_role("button", name="Evidence map").first.click()
        expect(page.get_by_text("evidence for FAKE").first).to_be_visible()
        expect_usable()
        card(page, "first.jpg").get_by_role("link", name="Open the record").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("first.jpg")
        expect_usable()
        for path in ("/history/", "/history/?search=nothing", "/sign-in/", "/history/nothing/"):
            page.goto(service.url + path)
            expect_usable()


@pytest.mark.parametrize(("viewport", "scheme"), SCREENS)
def test_the_documentation_is_accessible(service: Service, viewport, scheme):
    with opened_page(viewport=viewport, color_scheme=scheme) as page:
        page.goto(f"{service.url}/docs", wait_until="networkidle")
        expect(page.get_by_text("Judge one image")).to_be_visible()

        problems = serious_problems(page)
        # Swagger UI has a button to copy the path within the button that opens an operation.
        nested = re.compile(r"nested-interactive: .*\.opblock-summary-control")
        assert [problem for problem in problems if not nested.fullmatch(problem)] == []


def test_pages_follow_the_colour_scheme(service: Service):
    def background(scheme: str) -> int:
        with opened_page(color_scheme=scheme) as page:
            page.goto(service.url)
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert background("light") > 3 * 200
    assert background("dark") < 3 * 60


def test_every_button_is_large_enough_for_a_finger(service: Service, images):
    with opened_page(viewport=PHONE, has_touch=True) as page:
        page.goto(service.url)
        picker(page).set_input_files(images[0])
        expect_verdict(page, "first.jpg")

        for control in page.locator("button:visible, .choose, nav a, .actions a:visible").all():
            box = control.bounding_box()
            assert box["height"] >= 40, control.inner_text()
