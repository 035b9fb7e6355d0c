"""List the images of a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from detection.sources.candidates import HEAD_BYTES, has_image_content, is_named_like_an_image


@dataclass(slots=True)
class Listing:
    """The content of a folder: ``images`` are paths, as text since there may be a million of them;
    ``others`` is the number of files that are no images; ``closed`` are folders that cannot be
    opened.
    """

    images: list[str] = field(default_factory=list)
    others: int = 0
    closed: list[str] = field(default_factory=list)


def list_images(path: Path, *, recursive: bool) -> Listing:
    """List the images of a folder in the order of their names, subfolders last.

    Hidden files and folders are left out, links to folders are not followed. Dangling links and
    pipes are listed, since they may be images. If ``path`` is a file, list that file, whatever it
    holds. Raises OSError when ``path`` is missing or cannot be opened.
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
            if _is_folder(entry):
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


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _may_be_an_image(entry: os.DirEntry[str]) -> bool:
    if is_named_like_an_image(entry.name):
        return True
    try:
        if not entry.is_file():  # opening a pipe may never end
            return True
        with Path(entry.path).open("rb") as file:
            return has_image_content(file.read(HEAD_BYTES))
    except OSError:  # the file may be an image; its decoding says why it cannot be read
        return True
