from __future__ import annotations

import os
from pathlib import Path

import pytest

from detection.sources.folders import list_images
from tests.support.factories import image_bytes

pytestmark = pytest.mark.stateless


def names(folder: Path, *, recursive: bool = False) -> list[str]:
    return [
        Path(path).relative_to(folder).as_posix()
        for path in list_images(folder, recursive=recursive).images
    ]


def test_images_are_recognised_by_content_or_by_name(tmp_path):
    (tmp_path / "scan without extension").write_bytes(image_bytes(image_format="PNG"))
    (tmp_path / "photo.txt").write_bytes(image_bytes(image_format="WEBP"))
    (tmp_path / "text.JPG").write_text("not an image")
    (tmp_path / "empty.heic").write_bytes(b"")

    listing = list_images(tmp_path, recursive=False)

    assert len(listing.images) == 4
    assert listing.others == 0


def test_raw_photographs_are_listed(tmp_path):
    (tmp_path / "a.NEF").write_bytes(b"MM\0*")
    (tmp_path / "a film roll").write_bytes(b"FUJIFILMCCD-RAW 0201".ljust(100, b"\0"))

    assert len(list_images(tmp_path, recursive=False).images) == 2


def test_other_files_are_only_counted(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(image_bytes())
    (tmp_path / "ATTRIBUTION.md").write_text("# Where the images are from")
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isomiso2mp41")

    listing = list_images(tmp_path, recursive=False)

    assert [Path(path).name for path in listing.images] == ["photo.jpg"]
    assert listing.others == 3


def test_subfolders_come_after_the_files_of_their_folder_and_only_when_asked_for(tmp_path):
    for name in ("z.jpg", "b/2.jpg", "b/1.jpg", "b/a/3.jpg", "c/4.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes())

    assert names(tmp_path) == ["z.jpg"]
    assert names(tmp_path, recursive=True) == [
        "z.jpg",
        "b/1.jpg",
        "b/2.jpg",
        "b/a/3.jpg",
        "c/4.jpg",
    ]


def test_hidden_files_and_folders_are_left_out(tmp_path):
    (tmp_path / ".hidden.jpg").write_bytes(image_bytes())
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".thumbnails/1.jpg").write_bytes(image_bytes())

    listing = list_images(tmp_path, recursive=True)

    assert (listing.images, listing.others) == ([], 0)


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(image_bytes())
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "photo.jpg")

    assert names(tmp_path, recursive=True) == ["link.jpg", "photo.jpg"]


def test_links_that_lead_nowhere_and_pipes_are_listed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken").symlink_to(tmp_path / "missing")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "missing.jpg")
    (tmp_path / "to itself").symlink_to(tmp_path / "to itself")
    (tmp_path / "folder.jpg").mkdir()

    assert names(tmp_path, recursive=True) == [
        "broken",
        "broken.jpg",
        "pipe",
        "pipe.jpg",
        "to itself",
    ]


def test_the_path_of_a_file_is_that_file_whatever_it_holds(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("some words")

    assert list_images(notes, recursive=False).images == [str(notes)]


def test_a_subfolder_that_cannot_be_opened_is_named_and_the_others_are_listed(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "z/photo.jpg").write_bytes(image_bytes())
    deep_folders(tmp_path, name="a" * 250, depth=18)  # a path longer than any system opens

    listing = list_images(tmp_path, recursive=True)

    assert [Path(path).name for path in listing.images] == ["photo.jpg"]
    [closed] = listing.closed
    assert closed.startswith(str(tmp_path / ("a" * 250)))


def deep_folders(root: Path, *, name: str, depth: int) -> None:
    parent = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=parent)
        child = os.open(name, os.O_RDONLY, dir_fd=parent)
        os.close(parent)
        parent = child
    os.close(parent)
