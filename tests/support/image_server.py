"""An HTTP server of images that can redirect, drip, break off, and send too much."""

from __future__ import annotations

import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

from tests.support.factories import image_bytes
from tests.support.waiting import PATIENCE

IMAGE = image_bytes(seed=7)


class ImageServer(ThreadingHTTPServer):
    """A real HTTP server. ``/to/URL`` redirects, ``/status/404`` has this status, ``/hops/3``
    redirects three times; methods ``answer_…`` are the special paths. Any other path is an image.

    The answer to ``/held`` is sent when the test calls ``release``.
    """

    request_queue_size = 64

    def __init__(self, certificate: trustme.LeafCert | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.held = 0
        self._released = threading.Event()
        self._lock = threading.Lock()
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def __enter__(self) -> ImageServer:
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.release()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """Ignore clients that hang up: tests do this on purpose."""

    def url(self, path: str = "/image.jpg") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def hold(self) -> None:
        with self._lock:
            self.held += 1
        self._released.wait(PATIENCE)

    def release(self) -> None:
        self._released.set()


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ImageServer

    def do_GET(self) -> None:
        self.close_connection = True
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers))
        name, _, argument = self.path.lstrip("/").partition("/")
        special = getattr(self, f"answer_{name}", None)
        if special:
            special(argument)
        else:
            self.send(IMAGE)

    def send(self, body: bytes, **headers: str) -> None:
        self.begin(**{"Content-Length": str(len(body)), "Content-Type": "text/plain"} | headers)
        self.wfile.write(body)

    def begin(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def answer_to(self, url: str) -> None:
        self.begin(302, Location=url, **{"Content-Length": "0"})

    def answer_hops(self, left: str) -> None:
        self.answer_to(f"/hops/{int(left) - 1}" if int(left) else "/image.jpg")

    def answer_status(self, status: str) -> None:
        self.begin(int(status), **{"Content-Length": "0"})

    def answer_held(self, _: str) -> None:
        self.server.hold()
        self.send(IMAGE)

    def answer_text(self, _: str) -> None:
        self.send(b"just some text, long enough to be a file", **{"Content-Type": "image/jpeg"})

    def answer_empty(self, _: str) -> None:
        self.send(b"")

    def answer_promised(self, size: str) -> None:
        """Announce ``size`` bytes, and send fewer."""
        self.send(IMAGE, **{"Content-Length": size})

    def answer_large(self, size: str) -> None:
        """Send ``size`` bytes in chunks, without announcing the size."""
        self.begin(**{"Transfer-Encoding": "chunked"})
        for _ in range(0, int(size), 1024):
            self.wfile.write(b"400\r\n" + bytes(1024) + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def answer_closed(self, _: str) -> None:
        """Send the image without a length; the end of the connection ends the image."""
        self.begin()
        self.wfile.write(IMAGE)

    def answer_drip(self, _: str) -> None:
        """Send a byte now and then, for ever."""
        self.begin()
        while True:
            self.wfile.write(IMAGE[:1])
            time.sleep(0.02)

    def answer_nonsense(self, _: str) -> None:
        self.wfile.write(b"\x00\x01 nothing of HTTP\r\n\r\n")

    def log_message(self, *args) -> None:
        pass
