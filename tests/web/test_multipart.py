"""Form parts whose heads Django would drop: each is an image, or an error that names the part."""

from __future__ import annotations

import io
from base64 import b64encode

import pytest
from django.utils.html import escape

from detection.models import Prediction, PredictionBatch, QueuedImage
from detection.web.multipart import CHUNK, ReadableBody
from tests.support.api import BATCHES, a_user, assert_nothing_stored, assert_refused
from tests.support.factories import image_bytes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint", "no_judging")]

FORM = "multipart/form-data; boundary=BOUND"
JPEG = b"Content-Type: image/jpeg"
# What follows ``form-data; name="images"``
NAMELESS = {
    "latin-1": b'; filename="\xf1.jpg"',
    "cp932": '; filename="表.jpg"'.encode("cp932"),
    "cp932 before its quote": '; filename="写真表"'.encode("cp932"),
    "this folder": b'; filename="."',
    "the folder above": b'; filename=".."',
    "a folder": b'; filename="dir/"',
    "a folder of Windows": b'; filename="dir\\\\"',
    "control characters": b'; filename="\x01\x02"',
    "unknown charset": b"; filename*=klingon''a.jpg",
    "charset with a NUL": b"; filename*=\0''a.jpg",
    "no charset": b"; filename*=a.jpg",
    "bytes beside their charset": b"; filename*=utf-8''%F1.jpg",
    "in pieces": b"; filename*0=a; filename*1=.jpg",
    "words of an unknown charset": b'; filename="=?klingon?B?YQ==?="',
    "words that are no base64": b'; filename="=?utf-8?B?YQQQQ?="',
    "words that are no UTF-8": b'; filename="=?utf-8?Q?=F1.jpg?="',
    "pieces and a whole": b"; filename*0=a; filename*=klingon''b.jpg; filename*1=c",
    "numbers without end": b"; filename*" + b"9" * 5000 + b"=a.jpg",
    "no name": b"",
    "an empty name": b'; filename=""',
}
NAMED = {
    "utf-8": ('; filename="写真.jpg"'.encode(), "写真.jpg"),
    "extended": (b"; filename*=utf-8''%C3%B1.jpg", "ñ.jpg"),
    "extended Latin-1": (b"; filename*=iso-8859-1'es'%F1.jpg", "ñ.jpg"),
    "both": (b"; filename=n.jpg; filename*=UTF-8''%C3%B1.jpg", "ñ.jpg"),
    "both, one unreadable": (b"; filename=n.jpg; filename*=klingon''x", "n.jpg"),
    "unquoted": (b"; filename=n.jpg", "n.jpg"),
    "quotes and semicolons": (rb'; FileName = "a; \"b\".jpg"', 'a; "b".jpg'),
    "a path of Windows": (b'; filename="C:\\pictures\\n.jpg"', "n.jpg"),
    "a folded line": (b';\r\n filename="n.jpg"', "n.jpg"),
    "quotes as browsers write them": (b'; filename="a %22b%22 100%25.jpg"', 'a "b" 100%25.jpg'),
    "line feeds as browsers write them": (b'; filename="a%0D%0Ab%0ac.jpg"', "a b c.jpg"),
    "a line feed": (b'; filename="a\nb.jpg"', "a b.jpg"),
    "words of mail programs": (b'; filename="=?UTF-8?B?5YaZ55yfLmpwZw==?="', "写真.jpg"),
    "words in Q": (b"; filename==?iso-8859-1?q?caf=E9_1.jpg?=", "café 1.jpg"),
    "folded words": (
        b'; filename="=?UTF-8?B?5YaZ?=\r\n =?ISO-2022-JP?B?GyRCPz8bKEIuanBn?="',
        "写真.jpg",
    ),
    "almost words": (b'; filename="=?a?=.jpg"', "=?a?=.jpg"),
    "a long head": (b'; filename="n.jpg"\r\nX-Note: ' + b"x" * 8000, "n.jpg"),
    "a long name": (b'; filename="' + b"n" * 7000 + b'.jpg"', "n" * 196 + ".jpg"),
}
each_nameless = pytest.mark.parametrize("name", NAMELESS.values(), ids=NAMELESS)


def a_part(name: bytes = b"", data: bytes | None = None, *, field: str = "images") -> bytes:
    data = image_bytes() if data is None else data
    disposition = f'Content-Disposition: form-data; name="{field}"'.encode()
    return b"--BOUND\r\n" + disposition + name + b"\r\n" + JPEG + b"\r\n\r\n" + data + b"\r\n"


def a_field(name: str, value: str) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    return f"--BOUND\r\n{disposition}\r\n\r\n{value}\r\n".encode()


def send(client, path: str, *parts: bytes, content_type: str = FORM, **headers: str):
    return client.post(path, b"".join(parts) + b"--BOUND--\r\n", content_type, **headers)


@each_nameless
def test_an_image_without_a_readable_name_is_judged_in_a_batch(client, name):
    others = [a_part(f'; filename="{each}.jpg"'.encode()) for each in "ab"]

    answer = send(client, BATCHES, others[0], a_part(name), others[1]).json()

    assert answer["total_images"] == answer["successful"] == 3
    names = [each["filename"] for each in answer["results"]]
    assert names == ["a.jpg", "unnamed-2.jpg", "b.jpg"]


@each_nameless
def test_an_image_without_a_readable_name_is_queued(client, name):
    accepted = send(client, BATCHES, a_field("async", "true"), a_part(name), a_part(name))

    assert accepted.json()["total_images"] == 2
    names = QueuedImage.objects.order_by("batch_index").values_list("filename", flat=True)
    assert list(names) == ["unnamed-1.jpg", "unnamed-2.jpg"]


@each_nameless
@pytest.mark.parametrize("path", ["/predict", "/api/predict/", "/"])
def test_an_image_without_a_readable_name_is_judged_alone(client, path, name):
    assert send(client, path, a_part(name, field="image")).status_code == 200

    assert Prediction.objects.get().original_filename == "unnamed-1.jpg"


@pytest.mark.parametrize(("name", "expected"), NAMED.values(), ids=NAMED)
def test_a_readable_name_is_used(client, name, expected):
    answer = send(client, "/predict", a_part(name, field="image")).json()

    assert answer["filename"] == expected


def test_images_on_disk_have_their_names(client, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
    parts = [a_part(NAMELESS["latin-1"]), a_part(b'; filename="b.jpg"')]

    answer = send(client, BATCHES, *parts).json()

    assert [each["filename"] for each in answer["results"]] == ["unnamed-1.jpg", "b.jpg"]


def test_a_made_up_name_has_the_extension_of_the_content(client):
    parts = [a_part(b"", image_bytes(image_format="PNG")), a_part(b'; filename=".."', b"no image")]

    answer = send(client, BATCHES, *parts).json()

    assert answer["results"][0]["filename"] == "unnamed-1.png"
    assert answer["errors"][0]["filename"] == "unnamed-2"


def test_an_image_in_base64_is_judged(client):
    head = b"; filename=n.jpg\r\nContent-Transfer-Encoding: BASE64"

    part = a_part(head, b64encode(image_bytes()), field="image")

    assert send(client, "/predict", part).json()["filename"] == "n.jpg"


def test_an_empty_file_without_a_readable_name_is_an_error_of_its_own(client):
    answer = send(client, BATCHES, a_part(NAMELESS["latin-1"], b""), a_part()).json()

    assert answer["total_images"] == 2
    assert answer["errors"][0]["code"] == "empty_image"
    assert answer["errors"][0]["filename"] == "unnamed-1"


def test_an_empty_file_field_is_no_image(client):
    unused = a_part(b'; filename=""', b"")

    assert send(client, BATCHES, unused, a_part()).json()["total_images"] == 1
    assert_refused(send(client, BATCHES, unused), 400, "missing_image")


@pytest.mark.parametrize("path", [BATCHES, "/predict/batch"])
def test_text_beside_images_is_refused(client, path, stored_files):
    response = send(client, path, a_part(), a_field("images", "a cat"))

    sentence = assert_refused(response, 400, "missing_image")
    assert sentence == 'The field "images" holds text; send files there.'
    assert_nothing_stored(stored_files)


@pytest.mark.parametrize("field", ["images", "archive"])
def test_text_does_not_end_a_batch(client, field):
    batch = PredictionBatch.objects.create(
        total_images=1, sending=PredictionBatch.Sending.OPEN, status=PredictionBatch.Status.QUEUED
    )

    response = send(client, f"{BATCHES}{batch.pk}/images/", a_field(field, "a cat"))

    assert field in assert_refused(response, 400, "missing_image")
    batch.refresh_from_db()
    assert batch.sending == PredictionBatch.Sending.OPEN


NO_DISPOSITION = b"--BOUND\r\n" + JPEG + b"\r\n\r\nx\r\n"
NO_FIELD = b"--BOUND\r\nContent-Disposition: form-data; filename=a.jpg\r\n\r\nx\r\n"
LONG_HEAD = a_part(b"; filename=a.jpg\r\nX-Note: " + b"x" * 8192)
HEAD = b'--BOUND\r\nContent-Disposition: form-data; name="images"; filename="b.jpg"\r\n'
END = b"--BOUND--\r\n"
UNREADABLE = {
    "no disposition": (NO_DISPOSITION + END, "Part 2 of the form names no field."),
    "no head": (b"--BOUND\r\n\r\n\r\nx\r\n" + END, "Part 2 of the form names no field."),
    "no name of a field": (NO_FIELD + END, 'Part 2 of the form ("a.jpg") names no field.'),
    "no end of the head": (
        b"--BOUND\r\n" + JPEG + b"\nx\r\n" + END,
        "Part 2 of the form has no complete head.",
    ),
    "a part behind the last boundary": (
        END + a_part() + END,
        "The form has parts behind its last boundary.",
    ),
    "too long a head": (LONG_HEAD + END, "The head of part 2 of the form has more than 8 KiB."),
}
CUT = {
    "in its first boundary": (b"--BOU", "The form ends in its first boundary."),
    "in its first head": (HEAD, "The form ends in the head of its part 1."),
    "behind a boundary": (b"--BOUND\r\n", "The form ends in the head of its part 1."),
    "in a later head": (a_part() + HEAD[:30], "The form ends in the head of its part 2."),
    "in an image": (
        a_part() + a_part()[:300],
        "The form ends in its part 2: the boundary behind it is missing.",
    ),
    "in its last boundary": (a_part() + b"--BOUND-", "The form ends in the head of its part 2."),
}


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        *((a_part() + rest, "unreadable_part", sentence) for rest, sentence in UNREADABLE.values()),
        *((body, "upload_interrupted", sentence) for body, sentence in CUT.values()),
    ],
    ids=[*UNREADABLE, *CUT],
)
@pytest.mark.parametrize("path", ["/predict", "/", BATCHES])
def test_a_form_that_cannot_be_read_says_where(client, path, body, code, sentence, stored_files):
    response = client.post(path, body, FORM)

    if path == "/":
        assert response.status_code == 400
        assert escape(sentence) in response.content.decode()
    else:
        assert assert_refused(response, 400, code) == sentence
    assert_nothing_stored(stored_files)


def test_a_part_that_cannot_be_read_is_named_to_a_signed_in_user(client, stored_files):
    """The check of the form's token reads the body."""
    client.force_login(a_user())
    client.handler.enforce_csrf_checks = True

    response = send(client, BATCHES, a_part(), b"--BOUND\r\n\r\n\r\nx\r\n")

    assert_refused(response, 400, "unreadable_part")


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n--BOUND", b"\r\n--BOUND\r\n"])
def test_a_form_without_its_last_boundary_is_refused(client, end, stored_files):
    body = a_part() + a_part().removesuffix(b"\r\n") + end

    response = client.post(BATCHES, body, FORM)

    assert response.status_code == 400
    assert response.json()["code"] in ("upload_interrupted", "unreadable_part")
    assert_nothing_stored(stored_files)


@pytest.mark.parametrize("form", ["multipart/form-data", "multipart/form-data; boundary="])
@pytest.mark.parametrize("path", ["/predict", BATCHES])
def test_a_form_without_the_name_of_its_boundary_is_refused(client, path, form):
    response = client.post(path, a_part() + b"--BOUND--", form)

    sentence = assert_refused(response, 400, "parse_error")
    assert sentence == "The Content-Type names no boundary: leave it to your HTTP client."


def test_text_behind_the_parts_is_ignored(client):
    body = b"\r\n" + a_part(field="image") + b"--BOUND--\r\nIts end.\r\n\r\n"

    assert client.post("/predict", body, FORM).status_code == 200


@pytest.mark.parametrize("start", [b"no form", a_part().replace(b"BOUND", b"OTHER")])
def test_a_form_that_begins_otherwise_is_refused(client, start):
    response = send(client, BATCHES, start, a_part())

    sentence = assert_refused(response, 400, "unreadable_part")
    assert sentence == "The form does not begin with its boundary."


def test_a_boundary_that_only_folding_reveals_is_refused(client):
    part = a_part(field="--A\r\n B").replace(b"--BOUND", b"--A B")

    response = client.post("/predict", part + b"--A B--", 'multipart/form-data; boundary="A B"')

    assert_refused(response, 400, "unreadable_part")


@pytest.mark.parametrize("path", ["/predict", "/api/predict/", "/"])
def test_a_media_type_is_compared_without_case(client, path):
    form = "MULTIPART/Form-Data; Boundary=BOUND"

    response = send(client, path, a_part(b"; filename=a.jpg", field="image"), content_type=form)

    assert response.status_code == 200
    assert Prediction.objects.count() == 1


def test_a_media_type_of_a_form_without_images_is_compared_without_case(client):
    a_user(password="only for tests")
    fields = [a_field("username", "ann"), a_field("password", "only for tests")]
    form = "Multipart/Form-Data; boundary=BOUND"

    response = send(client, "/sign-in/", *fields, content_type=form)

    assert response.status_code == 302


def test_an_image_type_is_compared_without_case(client):
    part = a_part(field="image").replace(JPEG, b"CONTENT-TYPE: IMAGE/JPEG")

    assert send(client, "/predict", part).json()["filename"] == "unnamed-1.jpg"


def test_a_browser_is_known_without_case(client):
    page = client.get("/nowhere", headers={"Accept": "TEXT/HTML"})

    assert page["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("size", [1, 7, 1000, CHUNK])
def test_contents_are_unchanged_however_the_body_is_split(size):
    contents = [b"", b"\r\n-", b"\r\n--BOUN", bytes(3 * CHUNK), image_bytes()]
    body = b"".join(a_part(b"; filename=a", each) for each in contents) + b"--BOUND--\r\n"

    class Slow(io.BytesIO):
        def read(self, _size: int = -1) -> bytes:
            return super().read(size)

    readable = ReadableBody(Slow(body), b"BOUND")
    parts = b"".join(iter(readable.read, b"")).split(b"--BOUND")[1:-1]

    assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [
        each + b"\r\n" for each in contents
    ]
