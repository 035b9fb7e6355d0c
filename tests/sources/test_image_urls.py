"""Images are fetched from real servers, within limits, and from public addresses only."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trustme

from detection.judging import Upload
from detection.sources import fetch_images, image_urls
from tests.support.image_server import IMAGE, ImageServer
from tests.support.servers import free_port

pytestmark = pytest.mark.stateless

UNREACHABLE = "The image URL leads to no public address that answers."
LATE = "The host of the image URL sent no complete image in time."
PUBLIC = "93.184.215.14"


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "fetched"
    folder.mkdir()
    return folder


@pytest.fixture
def fetch(folder):
    """A function that fetches images into the folder."""

    def store(chunks) -> Path:
        path = folder / os.urandom(8).hex()
        path.write_bytes(b"".join(chunks))
        return path

    return lambda *urls: list(fetch_images(urls, store=store))


@pytest.fixture
def refused(fetch, folder):
    """A function that returns the code and the sentence of an image that is not fetched."""

    def refused(url: str) -> tuple[str, str]:
        [upload] = fetch(url)
        assert upload == Upload(upload.filename, b"", upload.error)
        assert list(folder.iterdir()) == []
        return upload.error.code, str(upload.error)

    return refused


def test_an_image_is_fetched_whatever_its_content_type_says(server, fetch):
    [upload] = fetch(server.url("/a/photo%20of%20a%20cat.png?size=large#top"))

    assert upload.data.read_bytes() == IMAGE
    assert upload.filename == "photo of a cat.png"
    assert upload.source_url == server.url("/a/photo%20of%20a%20cat.png?size=large#top")
    [(path, headers)] = server.requests
    assert path == "/a/photo%20of%20a%20cat.png?size=large"
    assert headers["host"] == f"127.0.0.1:{server.server_port}"
    assert headers["user-agent"] == "d3-detection"


@pytest.mark.parametrize(
    ("path", "filename"),
    [
        ("/dir/", "image"),
        ("", "image"),
        ("/%2e%2e%2fetc%2fpasswd", "passwd"),
        ("/a%5cb.jpg", "b.jpg"),
        ("/%E6%B4%AA%E6%B0%B4.jpg", "洪水.jpg"),
        ("/%00%0a%E2%80%AEgpj.jpg", "gpj.jpg"),
        ("/%ff.jpg", "\ufffd.jpg"),
    ],
)
def test_the_name_is_the_last_segment_cleaned(server, fetch, path, filename):
    [upload] = fetch(server.url(path))

    assert upload.filename == filename
    assert upload.data.read_bytes() == IMAGE


def test_images_have_the_order_of_their_urls(server, fetch):
    urls = [server.url(f"/{number}.jpg") for number in range(9)]

    uploads = fetch(*urls[:4], server.url("/status/404"), *urls[4:])

    names = [upload.filename for upload in uploads]
    assert names == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "404", *(f"{n}.jpg" for n in range(4, 9))]
    assert [upload.error is None for upload in uploads] == [True] * 4 + [False] + [True] * 5


def test_three_redirects_are_followed_and_no_fourth(server, fetch, refused):
    [upload] = fetch(server.url("/hops/2"))
    assert upload.data.read_bytes() == IMAGE
    assert upload.filename == "2"
    upload.data.unlink()

    assert refused(server.url("/hops/3")) == (
        "image_not_fetched",
        "The image URL redirects more than 3 times.",
    )
    assert server.paths[-1] == "/hops/0"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/status/404", "The host of the image URL answered 404."),
        ("/status/500", "The host of the image URL answered 500."),
        ("/status/302", "The host of the image URL answered 302."),
        ("/status/204", "The host of the image URL answered 204."),
        ("/nonsense", LATE),
        ("/promised/100000", LATE),
    ],
)
def test_a_host_that_sends_no_image_is_named_as_the_cause(server, refused, path, sentence):
    assert refused(server.url(path)) == ("image_not_fetched", sentence)


@pytest.mark.parametrize("path", ["/drip", "/held"])
def test_a_slow_host_times_out(server, refused, monkeypatch, path):
    monkeypatch.setattr(image_urls, "IMAGE_SECONDS", 1.5)

    assert refused(server.url(path)) == ("image_not_fetched", LATE)


def test_all_images_of_a_call_share_its_time(server, fetch, monkeypatch):
    monkeypatch.setattr(image_urls, "CALL_SECONDS", 0.3)

    uploads = fetch(*[server.url("/held")] * 8)

    assert {str(upload.error) for upload in uploads} <= {LATE, UNREACHABLE}


def test_an_image_without_a_length_is_fetched(server, fetch):
    [upload] = fetch(server.url("/closed"))

    assert upload.data.read_bytes() == IMAGE


@pytest.mark.parametrize("path", ["/promised/1000000000", "/large/1000000"])
def test_the_upload_limit_holds_while_an_image_arrives(server, refused, settings, path):
    settings.MAX_UPLOAD_BYTES = 100_000

    code, _ = refused(server.url(path))

    assert code == "image_too_large"


# Addresses


NEVER = ["http://169.254.169.254/latest/meta-data", "http://0.0.0.0/", "http://nothing.invalid/"]


@pytest.mark.usefixtures("own_pictures")
@pytest.mark.parametrize("url", [*NEVER, "http://127.0.0.1:{closed}/"])
def test_unreachable_addresses_all_have_the_same_sentence(refused, url):
    assert refused(url.format(closed=free_port())) == ("image_not_fetched", UNREACHABLE)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "[::1]", "[fd00::1]", "localhost", "2130706433", "nothing.invalid"],
)
def test_private_addresses_have_the_sentence_of_missing_ones(refused, host):
    assert refused(f"https://{host}/a.jpg") == ("image_not_fetched", UNREACHABLE)


@pytest.mark.parametrize("url", NEVER)
def test_a_redirect_is_checked_like_the_url(server, refused, url):
    code, sentence = refused(server.url(f"/to/{url}"))

    assert code == "image_not_fetched"
    assert sentence == (
        "The image URL redirects to a URL that leads to no public address that answers."
    )


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("cat.jpg", "The image URL must begin with https:// and a host name."),
        (f"http://{PUBLIC}/", "The image URL must begin with https://."),
        ("ftp://example.org/", "The image URL must begin with https:// and a host name."),
        ("file:///etc/passwd", "The image URL must begin with https:// and a host name."),
        (f"https://ann@{PUBLIC}/", "The image URL must have no user name and no password."),
        (f"https://ann:pw@{PUBLIC}/", "The image URL must have no user name and no password."),
        (f"https://{PUBLIC}:22/", "The image URL must have the port 443 or 8443."),
        (f"https://{PUBLIC}:80/", "The image URL must have the port 443 or 8443."),
        ("https://example.org/a b", "The image URL has characters that a URL cannot have."),
        ("https://[93.184/", "The image URL is no URL."),
        (f"https://{PUBLIC}/{'a' * 2000}", "The image URL has more than 2000 characters."),
    ],
)
def test_an_invalid_image_url_is_refused(refused, url, sentence):
    assert refused(url) == ("invalid_image_url", sentence)


@pytest.fixture
def public(monkeypatch, tmp_path):
    """A server with TLS behind the public address of images.example, under production's rules."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    names = {"images.example": PUBLIC, "other.example": PUBLIC, "inside.example": "10.0.0.1"}
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "")]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **_: [(*answer[0], (names[host], port))]
    )
    with ImageServer(authority.issue_cert("images.example")) as server:

        def connect(address: tuple[str, int], timeout: float) -> socket.socket:
            assert address in ((PUBLIC, 443), (PUBLIC, 8443))
            connected = socket.socket()
            connected.settimeout(timeout)
            connected.connect(server.server_address)
            return connected

        monkeypatch.setattr(socket, "create_connection", connect)
        yield server


@pytest.mark.parametrize("port", ["", ":443", ":8443"])
def test_a_public_host_with_a_certificate_is_accepted(public, fetch, port):
    [upload] = fetch(f"https://images.example{port}/cat.jpg")

    assert upload.data.read_bytes() == IMAGE
    assert public.paths == ["/cat.jpg"]


def test_a_redirect_leads_to_another_public_host(public, fetch):
    [upload] = fetch("https://images.example/to/https://images.example:8443/cat.jpg")

    assert upload.data.read_bytes() == IMAGE
    assert public.paths[1:] == ["/cat.jpg"]


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("https://inside.example/", "leads to no public address that answers."),
        ("https://images.example:6379/", "must have the port 443 or 8443."),
        ("http://images.example/", "must begin with https://."),
        ("https://ann:pw@images.example/", "must have no user name and no password."),
        ("file:///etc/passwd", "must begin with https:// and a host name."),
        ("//inside.example/", "leads to no public address that answers."),
    ],
)
def test_a_redirect_leads_nowhere_else(public, refused, location, sentence):
    _, refusal = refused(f"https://images.example/to/{location}")

    assert refusal == f"The image URL redirects to a URL that {sentence}"
    assert len(public.requests) == 1


def test_the_certificate_must_be_for_the_host(public, refused):
    code, sentence = refused("https://other.example/cat.jpg")

    assert code == "image_not_fetched"
    assert sentence.startswith("The certificate of the image URL's host is not valid: Hostname mis")
    assert public.requests == []
