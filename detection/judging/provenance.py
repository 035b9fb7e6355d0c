"""Read the provenance of uploads: what a file says of its own origin, in the bytes as sent."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

from detection.models import contradicts
from detection.provenance import ManifestHelper, Provenance, inspect

logger = logging.getLogger(__name__)


def inspect_upload(data: bytes | Path, *, whole_prompts: bool = False) -> Provenance:
    """Return what the file says. Never raises: no verdict fails through its provenance.

    Prompts are cut unless ``whole_prompts``.
    """
    try:
        picture = data.read_bytes() if isinstance(data, Path) else data
        return inspect(picture, helper=manifest_helper(), whole_prompts=whole_prompts)
    except Exception:  # the file was deleted since it was decoded, or there is no memory
        logger.exception("The provenance of a picture could not be read.")
        return Provenance(unread=("file",))


def origin_fields(found: Provenance | None, label: str) -> dict[str, Any]:
    """Return the fields that a record with this label has about the origin of its file. ``found``
    is None if the file was not inspected.
    """
    declares = (found.declares or "") if found else ""
    return {
        "provenance": found.as_dict() if found else {},
        "declares": declares,
        "disputed": contradicts(label, declares),
    }


@cache
def manifest_helper() -> ManifestHelper:
    """Return the helper of this process, with the trust list of the settings."""
    path = settings.C2PA_TRUST_LIST
    return ManifestHelper(anchors=path.read_text(encoding="utf-8") if path else "")
