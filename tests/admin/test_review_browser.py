"""The review screen in a real browser: keys, zoom, the evidence map, two moderators at once."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.support.accessibility import serious_problems
from tests.support.browser import Watch, opened_page, overflow
from tests.support.factories import image_bytes
from tests.support.installation import PASSWORD, Installation, Service

pytestmark = pytest.mark.own_servers

PHONE = {"width": 375, "height": 667}
NAMES = "select original_filename from predictions order by margin, _id"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"THROTTLE_LOGIN": ""}


@pytest.fixture(scope="module")
def installation(installation, tmp_path_factory) -> Installation:
    """Six judged images, and the moderators ann and bob."""
    installation.add_superuser("bob")
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        data = image_bytes(size=(640, 400 + 10 * number), seed=number)
        (folder / f"{number}.jpg").write_bytes(data)
    assert installation.run("scan_folder", folder)[0] == 0
    return installation


@pytest.fixture
def names(installation) -> list[str]:
    """The file names in the order of the queue. No record is reviewed yet."""
    installation.query(
        "update predictions set review_status = 'unreviewed', review_revision = 0,"
        " review_note = '', reviewer_id = null, reviewed_at = null,"
        " claimed_by_id = null, claimed_until = null"
    )
    return [name for (name,) in installation.query(NAMES)]


@pytest.fixture
def page(installation, service):
    viewport, state = {"width": 1280, "height": 800}, installation.signed_in("ann")
    with opened_page(viewport=viewport, storage_state=state) as page:
        yield page


def sign_in(page: Page, service: Service, name: str) -> None:
    page.goto(f"{service.url}/admin/login/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text(name, exact=False).first).to_be_visible()


def start(page: Page, service: Service) -> None:
    page.goto(f"{service.url}/admin/review/")
    wait(page)


def wait(page: Page) -> None:
    """Wait until the page reacts to keys."""
    page.locator('body[data-keys="on"]').wait_for()


def press(page: Page, key: str) -> None:
    wait(page)
    page.keyboard.press(key)


def press_place(page: Page, code: str, key: str, **modifiers: bool) -> None:
    """Press the key at the place ``code`` of the keyboard, which types ``key``."""
    wait(page)
    event = {"code": code, "key": key, **modifiers}
    page.locator("body").dispatch_event("keydown", event)


def assert_shown(page: Page, name: str) -> None:
    expect(page.locator("h1").last).to_have_text(name)


def reviews(installation: Installation) -> dict[str, tuple]:
    """Return status and note of the changed records, by file name."""
    rows = installation.query(
        "select original_filename, review_status, review_note from predictions"
    )
    return {name: rest for name, *rest in rows if rest != ["unreviewed", ""]}


def test_a_queue_is_reviewed_with_the_keyboard(installation, service, page, names):
    start(page, service)
    assert_shown(page, names[0])

    press(page, "c")
    assert_shown(page, names[1])
    expect(page.get_by_role("status").first).to_contain_text(names[0])
    turns = [("O", 2), ("s", 3), ("ArrowRight", 4), ("ArrowLeft", 3), ("ArrowLeft", 2), ("c", 4)]
    for key, place in turns:
        press(page, key)
        assert_shown(page, names[place])

    assert reviews(installation) == {
        names[0]: ["confirmed", ""],
        names[1]: ["overturned", ""],
        names[2]: ["confirmed", ""],
    }


def test_a_note_is_written_and_a_decision_undone_with_the_keyboard(
    installation, service, page, names
):
    start(page, service)

    press(page, "n")
    page.keyboard.type("Coarse shadows? Ask Sue.")  # C, O, S and more, none of them a decision
    page.keyboard.press("Escape")
    page.keyboard.press("Control+c")
    expect(page.get_by_label("Note")).not_to_be_focused()
    assert_shown(page, names[0])
    press(page, "o")
    assert_shown(page, names[1])
    assert reviews(installation) == {names[0]: ["overturned", "Coarse shadows? Ask Sue."]}
    press(page, "u")

    assert_shown(page, names[0])
    expect(page.get_by_label("Note")).to_have_value("Coarse shadows? Ask Sue.")
    assert reviews(installation) == {names[0]: ["unreviewed", "Coarse shadows? Ask Sue."]}


@pytest.mark.parametrize("confirm", ["с", "ψ", "c"], ids=["Cyrillic", "Greek", "Latin"])
def test_letter_keys_are_places_on_the_keyboard(installation, service, page, names, confirm):
    start(page, service)

    press_place(page, "KeyC", confirm)

    assert_shown(page, names[1])
    assert reviews(installation) == {names[0]: ["confirmed", ""]}


@pytest.mark.parametrize(("code", "key"), [("KeyI", "c"), ("Semicolon", "s")], ids=["C", "S"])
def test_a_letter_typed_at_another_place_decides_nothing(
    installation, service, page, names, code, key
):
    start(page, service)
    press_place(page, code, key)
    press_place(page, "KeyC", "ć", modifierAltGraph=True)
    press_place(page, "KeyO", "r")

    assert_shown(page, names[1])
    assert reviews(installation) == {names[0]: ["overturned", ""]}


def test_signs_and_digits_zoom_on_each_keyboard(service, page, names):
    start(page, service)
    zoom = page.locator(".pictures output")

    press_place(page, "BracketRight", "+")
    expect(zoom).not_to_be_empty()
    enlarged = zoom.inner_text()
    press_place(page, "Digit0", "à")
    expect(zoom).not_to_have_text(enlarged)


def test_letters_are_shown_as_the_keyboard_has_them(service, page, names):
    page.add_init_script(
        "Keyboard.prototype.getLayoutMap = async () => new Map([['KeyC', 'j'], ['KeyO', 'r']])"
    )
    start(page, service)

    expect(page.get_by_role("button", name="Confirm").locator("kbd")).to_have_text("J")
    expect(page.get_by_role("button", name="Overturn").locator("kbd")).to_have_text("R")
    expect(page.get_by_role("button", name="Skip").locator("kbd")).to_have_text("S")
    expect(page.locator(".keys kbd").first).to_have_text("J")


def test_a_key_that_is_held_decides_once(installation, service, page, names):
    start(page, service)

    for _ in range(3):
        page.keyboard.down("c")  # the browser marks all but the first as repeated
        assert_shown(page, names[1])
        wait(page)

    assert list(reviews(installation)) == [names[0]]


def test_the_end_of_the_queue_has_its_own_page(installation, service, page, names):
    start(page, service)
    for name in names:
        assert_shown(page, name)
        press(page, "s" if name == names[2] else "c")

    assert_shown(page, "The queue is empty")
    assert serious_problems(page) == []
    press(page, "ArrowRight")
    assert_shown(page, names[2])


def widths(page: Page) -> list[float]:
    """Return the widths of the three pictures on the screen."""
    return page.locator(".stage > img").evaluate_all(
        "images => images.map((image) => image.getBoundingClientRect().width)"
    )


def corners(page: Page) -> list[list[float]]:
    """Return the upper left corner of each picture in its panel."""
    return page.locator(".stage > img").evaluate_all(
        "images => images.map((image) => [image.offsetLeft, image.offsetTop])"
    )


def evidence(page: Page):
    return page.get_by_alt_text("Where the model found evidence")


@pytest.mark.usefixtures("names")
def test_the_pictures_are_zoomed_and_moved_together(service, page):
    start(page, service)
    expect(evidence(page)).to_be_visible()
    whole = widths(page)
    assert len(whole) == 3
    assert max(whole) - min(whole) < 1

    press(page, "+")
    press(page, "+")
    closer = widths(page)
    assert max(closer) - min(closer) < 1
    assert closer[0] == pytest.approx(2.25 * whole[0], rel=0.01)
    press(page, "1")
    assert widths(page)[0] == pytest.approx(640, abs=1)
    expect(page.locator(".zoom output")).to_have_text("100 %")
    press(page, "0")
    assert widths(page) == whole

    page.locator(".stage").first.hover()
    page.mouse.wheel(0, -600)
    before = corners(page)
    assert widths(page)[0] > 3 * whole[0]
    page.mouse.down()
    page.mouse.move(300, 300)
    page.mouse.up()
    dragged = corners(page)
    assert dragged != before
    assert dragged[0] == dragged[1] == dragged[2]
    press(page, "Shift+ArrowLeft")
    assert corners(page)[0][0] > dragged[0][0]

    for _ in range(6):
        page.get_by_role("button", name="Larger").click()
    expect(page.locator(".stage > img.pixels")).to_have_count(3)


@pytest.mark.usefixtures("names")
def test_the_evidence_map_says_why_it_cannot_be_drawn(installation, service, page):
    installation.query(
        "update predictions set heatmap_image = '', model_version = 'x' || model_version"
    )
    try:
        start(page, service)
        state = page.locator("figure").last.locator(".state")
        expect(state).to_contain_text("no longer runs here")
        expect(evidence(page)).to_be_hidden()
    finally:
        installation.query("update predictions set model_version = substr(model_version, 2)")


def test_a_sentence_replaces_a_lost_file(installation, service, page, names):
    [[name]] = installation.query(f"{NAMES.replace('original_filename', 'original_image')} limit 1")
    file = installation.data / "files" / name
    data = file.read_bytes()
    file.unlink()

    start(page, service)

    expect(page.get_by_text("The original cannot be shown")).to_be_visible()
    expect(page.get_by_alt_text("The image with the model")).to_be_visible()
    press(page, "c")
    assert_shown(page, names[1])
    file.write_bytes(data)


def test_two_moderators_never_work_on_the_same_record(installation, service, page, names):
    other = page.context.browser.new_context().new_page()
    sign_in(other, service, "bob")
    start(page, service)
    start(other, service)
    assert_shown(page, names[0])
    assert_shown(other, names[1])

    other.goto(page.url)
    expect(other.get_by_role("alert")).to_have_text("ann is looking at this prediction right now.")
    expect(other.get_by_role("button", name="Confirm")).to_have_count(0)
    installation.query("update predictions set claimed_until = '2020-01-01 00:00:00'")
    other.reload()
    press(other, "c")
    assert_shown(other, names[1])

    press(page, "n")
    page.keyboard.type("I am not sure")
    page.keyboard.press("Escape")
    press(page, "o")
    expect(page.get_by_role("alert")).to_have_text(
        "This prediction has been confirmed by bob meanwhile."
    )
    expect(page.get_by_label("Note")).to_have_value("I am not sure")
    assert reviews(installation) == {names[0]: ["confirmed", ""]}
    press(page, "ArrowRight")
    assert_shown(page, names[2])


def test_the_form_works_without_javascript(installation, service, names):
    with opened_page(java_script_enabled=False) as page:
        sign_in(page, service, "bob")
        page.goto(f"{service.url}/admin/review/")
        assert_shown(page, names[0])
        expect(page.get_by_alt_text("Where the model found evidence").first).to_be_visible()
        page.get_by_label("Note").fill("seen")
        page.get_by_role("button", name="Overturn").click()
        assert_shown(page, names[1])
        page.get_by_role("button", name="Undo").click()
        assert_shown(page, names[0])
        page.get_by_role("button", name="Skip").click()
        assert_shown(page, names[1])

    assert reviews(installation) == {names[0]: ["unreviewed", "seen"]}


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 800}, PHONE])
def test_the_page_is_accessible(installation, service, viewport, scheme):
    state = installation.signed_in("ann")
    with opened_page(viewport=viewport, color_scheme=scheme, storage_state=state) as page:
        watch = Watch.of(page)
        start(page, service)
        expect(evidence(page)).to_be_visible()
        problems = serious_problems(page)
        assert overflow(page) <= 0
        press(page, "c")
        expect(page.get_by_role("button", name="Undo")).to_be_visible()
        expect(evidence(page)).to_be_visible()
        problems += serious_problems(page)
        page.go_back()
        page.goto(page.url)
        expect(page.get_by_role("button", name="Reopen")).to_be_visible()
        problems += serious_problems(page)

    assert problems == []
    assert watch == Watch([], {f"127.0.0.1:{service.port}"})
