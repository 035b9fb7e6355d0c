"""Files of the embedded default: a folder, read through links that are signed and expire."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.core.signing import Signer
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.deconstruct import deconstructible


class LinkError(Exception):
    """A link that gives no access; the message is one plain sentence."""

    code = "link_invalid"


class LinkExpiredError(LinkError):
    code = "link_expired"


@deconstructible(path="detection.storage.SignedFileSystemStorage")
class SignedFileSystemStorage(FileSystemStorage):
    """Stores privately; ``url`` gives a path of ours that works for RESULT_URL_EXPIRY seconds."""

    def __init__(self, location=None) -> None:
        super().__init__(
            location=location, file_permissions_mode=0o600, directory_permissions_mode=0o700
        )

    def url(self, name: str) -> str:
        expires = str(int(time.time()) + settings.RESULT_URL_EXPIRY)
        query = urlencode({"expires": expires, "signature": _signature(name, expires)})
        return f"{reverse('stored-file', args=[name])}?{query}"


def verify_link(*, name: str, expires: str, signature: str) -> None:
    """Raises LinkError unless ``signature`` was made by us for this file and time."""
    if not constant_time_compare(signature, _signature(name, expires)):
        raise LinkError("This link was not made by this server, or it was changed.")
    if int(expires) < time.time():
        raise LinkExpiredError(
            "This link has expired; ask for the prediction again to get a new one."
        )


def _signature(name: str, expires: str) -> str:
    return Signer(salt="detection.storage").signature(f"{expires}/{name}")
