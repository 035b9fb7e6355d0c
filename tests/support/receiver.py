"""A receiver of webhooks, and batches with webhooks."""

from __future__ import annotations

import ssl
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

from detection.models import PredictionBatch, Source
from detection.queue.webhooks import webhook_fields


class Receiver(ThreadingHTTPServer):
    """A real HTTP server. It sends the ``answers`` in order, and repeats the last one."""

    def __init__(self, *answers: int | str, certificate: trustme.LeafCert | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers = list(answers)
        self.messages: list[tuple[str, dict[str, str], bytes]] = []
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"

    def __enter__(self) -> Receiver:
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        """Ignore clients that hang up: tests do this on purpose."""

    def url(self, path: str = "/hook?from=d3", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def next_answer(self) -> int | str:
        with self.lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Answering(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with server.lock:
            server.messages.append((self.path, headers, body))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            self.answer(server.next_answer())
        finally:
            with server.lock:
                server.at_once -= 1

    def do_GET(self) -> None:
        """Record a GET too: a followed redirect becomes one."""
        self.do_POST()

    def answer(self, how: int | str) -> None:
        if how == "drip":
            for byte in b"HTTP/1.1 200 OK\r\n\r\n":
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        elif how == "nonsense":
            self.wfile.write(b"\x00\x01 nothing of HTTP\r\n\r\n")
        elif how == "slow":
            time.sleep(0.3)
            self.answer(200)
        else:
            self.send_response(how)
            if how in (301, 307):
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "1000000000")  # more than the client reads
            self.end_headers()

    def log_message(self, *args) -> None:
        pass


def a_batch(url: str = "", **fields) -> PredictionBatch:
    standard = {
        "total_images": 3,
        "successful": 2,
        "failed": 1,
        "source": Source.BATCH,
        "status": "done",
        "finished_at": datetime(2026, 3, 5, 12, 30, tzinfo=UTC),
        "webhook_url": url,
    }
    return PredictionBatch.objects.create(**(standard | fields))


def announce(batch: PredictionBatch) -> None:
    """Make the batch's webhook due, as the end of a batch does."""
    if changes := webhook_fields(batch):
        PredictionBatch.objects.filter(pk=batch.pk).update(**changes)


def due_batch(url: str, **fields) -> PredictionBatch:
    batch = a_batch(url, **fields)
    announce(batch)
    return batch
