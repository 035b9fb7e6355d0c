"""The front page as the server sends it, with and without its script."""

from __future__ import annotations

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from detection.models import Prediction, Source
from tests.support.api import a_file, a_user, images_judged
from tests.support.factories import a_prediction, image_bytes, noise_image
from tests.support.image_files import animated
from tests.support.pages import Page
from tests.support.provenance import MIDJOURNEY, a_generated_record, picture_with

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint", "nothing_counted")]

FETCH = {"X-Requested-With": "fetch"}
PASSWORD = "correct horse battery staple"


def shown(response) -> Page:
    assert response.headers["Content-Type"].startswith("text/html")
    return Page(response.content.decode())


def posted(client, file=None, **request):
    return client.post("/", {"image": file or a_file()}, **request)


def is_whole(page: Page) -> bool:
    return bool(page.all("html"))


def links(page: Page) -> list[str]:
    return [link["href"] for link in page.all("a")]


def test_it_asks_for_an_image(client):
    response = client.get("/")
    page = shown(response)

    assert response.status_code == 200
    [form] = [form for form in page.all("form") if form["action"] == "/"]
    assert form["method"] == "post"
    assert form["enctype"] == "multipart/form-data"
    [file] = [field for field in page.all("input") if field["type"] == "file"]
    assert file["name"] == "image"
    assert {"/history/", "/docs", "/sign-in/"} <= set(links(page))
    assert "Model d3-test" in page.text
    assert client.head("/").status_code == 200


def test_pages_need_no_weaker_content_policy(client):
    posted(client)
    [record] = Prediction.objects.all()
    for path in ("/", "/history/", f"/history/{record.pk}/", "/sign-in/", "/history/nothing/"):
        page = shown(client.get(path))
        assert all("src" in script for script in page.all("script"))
        assert page.all("style") == []
        for tag, attributes in page.elements:
            assert not {name for name in attributes if name.startswith("on")}, tag
            assert "style" not in attributes, tag


def test_a_form_is_answered_with_the_whole_page(client):
    response = posted(client, a_file("holiday.jpg"))
    page = shown(response)

    assert response.status_code == 200
    assert is_whole(page)
    [record] = Prediction.objects.all()
    assert record.source == Source.PAGE
    assert record.owner is None
    assert f"/history/{record.pk}/" in links(page)
    assert "holiday.jpg" in page.text
    assert "What this means" in page.text
    [picture] = [image for image in page.all("img") if image.get("class") == "picture"]
    assert client.get(picture["src"]).status_code == 200 or "://" in picture["src"]


def test_the_script_is_answered_with_the_card_alone(client):
    response = posted(client, headers=FETCH)
    page = shown(response)

    assert response.status_code == 200
    assert not is_whole(page)
    assert len(page.all("article")) == 1


def test_the_card_of_an_animation_says_that_its_first_frame_was_judged(client):
    frames = [noise_image(seed=seed) for seed in range(3)]
    file = a_file("a.gif", animated("GIF", frames))

    assert "The first of 3 frames was judged." in shown(posted(client, file, headers=FETCH)).text


def test_a_signed_in_user_owns_the_sent_image(client):
    ann = a_user()
    client.force_login(ann)

    assert "Sign out ann" in shown(posted(client)).text
    assert Prediction.objects.get().owner == ann


def test_the_same_bytes_lead_to_their_first_record(client):
    posted(client)
    [first] = Prediction.objects.all()
    judged = images_judged()

    page = shown(posted(client))

    assert "judged before" in page.text
    assert f"/history/{first.pk}/" in links(page)
    assert images_judged() == judged


def test_the_name_of_a_file_is_text(client):
    page = shown(posted(client, a_file("<b onclick=x>.jpg")))

    assert page.all("b") == []
    assert "<b onclick=x>.jpg" in page.text


BAD_FORMS = {
    "no image": ({}, 400),
    "text for an image": ({"image": "text"}, 400),
    "two images": ({"image": [b"1", b"2"]}, 400),
    "no picture": ({"image": b"just some text, long enough to be a file"}, 415),
    "a part of a picture": ({"image": image_bytes(size=(640, 480))[:5000]}, 400),
    "too many bytes": ({"image": b"x" * 2_500_000}, 413),
}


def a_form(fields: dict) -> dict:
    def field(value):
        if isinstance(value, list):
            return [field(each) for each in value]
        return a_file("notes.jpg", value) if isinstance(value, bytes) else value

    return {name: field(value) for name, value in fields.items()}


@pytest.mark.parametrize("headers", [{}, FETCH], ids=["form", "script"])
@pytest.mark.parametrize("case", BAD_FORMS)
def test_an_error_is_the_sentence_of_the_api(client, settings, stored_files, case, headers):
    settings.MAX_UPLOAD_BYTES = 1_000_000
    fields, status = BAD_FORMS[case]
    sentence = client.post("/api/predict/", a_form(fields)).json()["error"]

    response = client.post("/", a_form(fields), headers=headers)
    page = shown(response)

    assert response.status_code == status
    assert sentence in page.text
    assert is_whole(page) == (not headers)
    assert not Prediction.objects.exists()
    assert stored_files() == []


def test_an_error_stands_beside_the_name_of_the_file(client):
    page = shown(posted(client, a_file("notes.jpg", b"just some text, long enough to be a file")))

    assert "notes.jpg This file is not an image" in page.text


def test_a_body_that_is_no_form_is_refused(client):
    response = client.post("/", b"{}", content_type="application/json")

    assert response.status_code == 415
    assert "multipart/form-data" in shown(response).text


@pytest.mark.parametrize("method", ["put", "delete", "options"])
def test_other_methods_are_refused_with_a_page(client, method):
    response = getattr(client, method)("/")

    assert response.status_code == 405
    assert "not allowed" in shown(response).text


def test_too_many_images_have_a_retry_after(client, rates):
    rates["predict"] = "2/min"
    assert posted(client).status_code == 200
    assert client.post("/api/predict/", {"image": a_file()}).status_code == 200

    for headers in ({}, FETCH):
        response = posted(client, headers=headers)
        assert response.status_code == 429
        assert 0 < int(response.headers["Retry-After"]) <= 60
        assert "throttled" in shown(response).text
    assert client.get("/").status_code == 200


def test_too_many_pages_are_refused_on_a_page(client, rates):
    rates["read"] = "1/min"

    assert client.get("/").status_code == 200
    response = client.get("/history/")
    assert response.status_code == 429
    assert "Too many requests" in shown(response).text
    assert posted(client).status_code == 200


@pytest.mark.parametrize("headers", [{}, FETCH], ids=["form", "script"])
def test_without_storage_it_says_so(client, request, headers):
    request.getfixturevalue("lost_storage")

    response = posted(client, headers=headers)

    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert "storage cannot be reached" in shown(response).text


def test_without_database_it_says_so(transactional_db, client, request):
    request.getfixturevalue("lost_database")

    response = posted(client, headers=FETCH)

    assert response.status_code == 503
    assert "database cannot be reached" in shown(response).text


def a_signed_in_client(**options) -> Client:
    client = Client(**options)
    client.force_login(a_user())
    return client


def test_only_the_services_own_page_can_send_for_a_signed_in_user():
    client = a_signed_in_client(enforce_csrf_checks=True)
    page = shown(client.get("/"))
    token = next(
        field["value"] for field in page.all("input") if field["name"] == "csrfmiddlewaretoken"
    )

    foreign = posted(client)
    assert foreign.status_code == 403
    assert "Reload it" in shown(foreign).text
    assert not Prediction.objects.exists()
    assert client.post("/", {"image": a_file(), "csrfmiddlewaretoken": token}).status_code == 200


def test_too_many_bytes_are_refused_of_signed_in_users_too(settings):
    settings.MAX_UPLOAD_BYTES = 1_000_000

    response = posted(a_signed_in_client(), a_file(data=b"x" * 2_500_000))

    assert response.status_code == 413
    assert "MiB" in shown(response).text


@pytest.mark.usefixtures("closed")
class TestForUsersOnly:
    @pytest.mark.parametrize("path", ["/", "/history/", "/history/nothing/", "/history/?search=a"])
    def test_it_asks_strangers_to_sign_in(self, client, path):
        response = client.get(path)

        assert response.status_code == 302
        assert response.headers["Location"].startswith("/sign-in/?next=/")

    def test_an_image_from_a_stranger_is_not_judged(self, client):
        form, script = posted(client), posted(client, headers=FETCH)

        assert form.headers["Location"] == "/sign-in/?next=/"
        assert script.status_code == 403
        assert "Sign in again" in shown(script).text
        assert not Prediction.objects.exists()

    def test_a_signed_in_user_may_send_images(self):
        assert posted(a_signed_in_client()).status_code == 200


def signed_in(client, password: str = PASSWORD, **fields):
    return client.post("/sign-in/", {"username": "ann", "password": password, **fields})


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({}, "/"),
        ({"next": "/history/?search=a"}, "/history/?search=a"),
        ({"next": "https://example.com/"}, "/"),
        ({"next": "//example.com"}, "/"),
        ({"next": "javascript:alert(1)"}, "/"),
    ],
)
def test_signing_in_leads_back_to_the_requested_page(client, asked, place):
    a_user(password=PASSWORD)

    assert signed_in(client, **asked).headers["Location"] == place


def test_a_wrong_password_is_reported_in_a_sentence(client):
    a_user(password=PASSWORD)
    page = shown(signed_in(client, "a wrong one", next="/history/"))

    assert "correct username and password" in page.text
    fields = {field["name"]: field.get("value") for field in page.all("input")}
    assert fields["username"] == "ann"
    assert fields["password"] is None
    assert fields["next"] == "/history/"


def test_signing_out_leads_to_the_front(client):
    a_user(password=PASSWORD)
    signed_in(client)

    assert client.get("/sign-out/").status_code == 405
    assert client.post("/sign-out/").headers["Location"] == "/"
    assert "Sign in" in shown(client.get("/")).text


def test_the_administration_is_for_staff(client, admin_client):
    assert "/admin/" not in links(shown(client.get("/")))
    assert "/admin/" in links(shown(admin_client.get("/")))


def test_browsers_find_an_icon(client):
    place = client.get("/favicon.ico").headers["Location"]

    assert finders.find(place.removeprefix("/static/"))


def test_what_the_file_says_stands_above_the_score(client):
    data = picture_with(texts={"Description": MIDJOURNEY})
    page = shown(posted(client, a_file(data=data), headers=FETCH))
    said = page.text.index("This file says that it was made with Midjourney.")
    assert said < page.text.index("fake score")
    assert page.all("details")
    assert not shown(posted(client, headers=FETCH)).all("details")


@pytest.mark.parametrize("fake_score", [0.1, 0.9])
def test_a_dispute_between_file_and_verdict_is_shown(client, fake_score):
    page = shown(client.get(f"/history/{a_generated_record(fake_score=fake_score).pk}/"))
    assert ("The file and the detector disagree." in page.text) == (fake_score < 0.5)


def test_an_unsigned_camera_changes_neither_words_nor_colours(client):
    facts = {"says": "", "unread": [], "claims": [{"kind": "camera", "says": "A camera."}]}
    plain, camera = a_prediction(), a_prediction(provenance=facts)
    pages = [client.get(f"/history/{each.pk}/").content.decode() for each in (plain, camera)]
    for sign in ("card-fake", "Probably made by a generator"):
        assert pages[0].count(sign) == pages[1].count(sign)
    assert "file-says" not in pages[1]
