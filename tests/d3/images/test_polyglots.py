"""Files that are a picture for us and something else for another program are refused."""

from __future__ import annotations

import io
import zipfile

import pytest
from PIL.PngImagePlugin import PngInfo

from detection.d3.errors import PolyglotImageError, UnsupportedImageError
from detection.d3.images import decode_image
from tests.support.factories import image_bytes
from tests.support.image_files import SAMPLES, encoded, picture

pytestmark = pytest.mark.stateless


def zipped(names: tuple[str, ...] = ("payload.txt",)) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, "hello")
    return archive.getvalue()


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (image_bytes() + zipped(), "an archive"),
        (image_bytes() + zipped(names=()), "an archive"),
        (image_bytes(image_format="GIF") + zipped(), "an archive"),
        (image_bytes() + b"Rar!\x1a\x07\x01\x00", "an archive"),
        (image_bytes() + b"7z\xbc\xaf\x27\x1c", "an archive"),
        (image_bytes(image_format="PNG") + b"<SCRIPT>alert(1)</SCRIPT>", "a web page or a script"),
        (image_bytes() + b"<!DOCTYPE html><p>", "a web page or a script"),
        (image_bytes() + b"<?php system($_GET[0]);", "a web page or a script"),
        (encoded(picture(), "JPEG", comment=b"%PDF-1.7 1 0 obj trailer"), "a PDF document"),
    ],
)
def test_the_refusal_of_a_polyglot_says_what_else_it_is(image, what):
    with pytest.raises(PolyglotImageError, match=f"an image and {what}"):
        decode_image(image)


@pytest.mark.parametrize("name", SAMPLES)
def test_ordinary_files_of_every_type_pass(name):
    assert decode_image(SAMPLES[name]).pixels.size == (64, 48)


def test_the_trailer_of_a_phones_photograph_is_allowed():
    film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(256)) * 40

    assert decode_image(image_bytes() + film).pixels.size == (64, 48)


@pytest.mark.parametrize("text", ["<iframe src='x'></iframe>", "<script>x</script>", "%PDF-1.7"])
def test_markup_in_the_texts_of_a_files_metadata_is_allowed(text):
    chunk = PngInfo()
    chunk.add_text("prompt", text)
    chunk.add_itxt("workflow", text)

    assert decode_image(encoded(picture(), "PNG", pnginfo=chunk))
    assert decode_image(encoded(picture(), "JPEG", comment=text.encode()))


@pytest.mark.parametrize("words", [b"made with <html5> canvas", b"<scripting>", b"<?phpx"])
def test_words_that_only_begin_like_markup_are_allowed(words):
    assert decode_image(image_bytes() + words).pixels.size == (64, 48)


def test_two_letters_of_an_archive_are_no_archive():
    assert decode_image(image_bytes() + b"PK\x05\x06 but nothing more").pixels.size == (64, 48)


@pytest.mark.parametrize(
    "text",
    [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<?xml version='1.0'?><svg/>", b"%PDF-1.7\n"],
)
def test_drawings_and_documents_are_no_images(text):
    with pytest.raises(UnsupportedImageError):
        decode_image(text)
