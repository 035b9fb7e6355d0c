"""Which files of a folder are images: those with an image's content, and those named like one."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from detection.d3.errors import UnsupportedImageError
from detection.d3.images import image_format

# Also of types that we cannot read: whoever has such pictures wants to know that they were not.
IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".hif"),
    *(".jp2", ".jxl", ".psd", ".tga", ".ppm", ".exr"),
)
HEAD_BYTES = 1024  # enough for every signature


@dataclass(slots=True)
class Listing:
    """What a folder holds: ``images`` are paths, as text because there may be a million of them;
    ``others`` counts the files that are no images; ``closed`` are folders that cannot be opened.
    """

    images: list[str] = field(default_factory=list)
    others: int = 0
    closed: list[str] = field(default_factory=list)


def list_images(path: Path, *, recursive: bool) -> Listing:
    """The images of a folder in the order of their names, a folder's own before its subfolders'.

    Hidden files and folders are left out, links to folders are not followed. The path of a file
    is that file, whatever it holds. Raises OSError when ``path`` is missing or cannot be opened.
    """
    if path.is_file():
        return Listing(images=[str(path)])
    listing, waiting = Listing(), [str(path)]
    while waiting:
        folder = waiting.pop()
        try:
            entries = _visible_entries(folder)
        except OSError:
            if folder == str(path):
                raise
            listing.closed.append(folder)
            continue
        for entry in entries:
            if not entry.is_file():
                continue
            if _may_be_an_image(entry):
                listing.images.append(entry.path)
            else:
                listing.others += 1
        if recursive:
            subfolders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            waiting.extend(reversed(subfolders))
    return listing


def _visible_entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: entry.name)


def _may_be_an_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.lower().endswith(IMAGE_EXTENSIONS):
        return True
    try:
        with Path(entry.path).open("rb") as file:
            image_format(file.read(HEAD_BYTES))
    except UnsupportedImageError:
        return False
    except OSError:  # it may be one: decoding it will tell what is in the way
        return True
    return True
