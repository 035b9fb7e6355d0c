"""The service with the settings of production, and clients that send through a proxy."""

from __future__ import annotations

import requests
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import encode_multipart

from tests.support.installation import Service

# What an operator sets. All else has its default, also where the tests' settings differ.
PRODUCTION = {
    "SECRET_KEY": settings.SECRET_KEY,  # the tests sign sessions in with it
    "ALLOWED_HOSTS": "detect.example.org,127.0.0.1",
    "TRUSTED_PROXIES": "1",
    "CORS_ALLOWED_ORIGINS": "https://newsroom.example.org",
    "SECURE_SSL_REDIRECT": "true",
    "API_ACCESS": "token",
    "THROTTLE_PREDICT": "60/min",
    "THROTTLE_READ": "600/min",
}
THROUGH_PROXY = {
    "Host": "detect.example.org",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.7",
}
CSRF_TOKEN = "a" * 32


def browser(session: str = "") -> dict[str, str]:
    """Return the headers of a browser that sends a form of the service, optionally in a session."""
    return THROUGH_PROXY | {
        "Referer": "https://detect.example.org/",
        "X-CSRFToken": CSRF_TOKEN,
        "Cookie": f"csrftoken={CSRF_TOKEN}" + (f"; sessionid={session}" if session else ""),
    }


def form_body(**fields: bytes | str | list[bytes | str]) -> bytes:
    """Return a multipart form with the boundary ``b``. Bytes become files, lists several values."""
    return encode_multipart(
        "b",
        {
            name: [
                SimpleUploadedFile(f"{number}.jpg", value) if isinstance(value, bytes) else value
                for number, value in enumerate(values if isinstance(values, list) else [values])
            ]
            for name, values in fields.items()
        },
    )


def sent(service: Service, path: str, headers: dict[str, str], **fields) -> requests.Response:
    """Send a form through the proxy."""
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    return requests.post(
        f"{service.url}{path}",
        data=form_body(**fields),
        headers=THROUGH_PROXY | form | headers,
        timeout=60,
    )
