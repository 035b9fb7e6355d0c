"""Store uploads on disk without open descriptors, since a batch may have thousands of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import BinaryIO

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest

from detection.errors import StorageUnavailableError


class UploadFolder(FileUploadHandler):
    """Write each file of a request into one temporary folder, and close it when it is complete.

    Raises StorageUnavailableError when the disk is full.
    """

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self.file: BinaryIO | None = None  # Django closes it if the body ends early
        self._folder: TemporaryDirectory | None = None
        self._numbers = count()
        self._lock = Lock()

    def new_file(self, *description: object, **options: object) -> None:
        super().new_file(*description, **options)
        with _disk_errors():
            self.file = self._new_path().open("xb")

    def _new_path(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix="d3-upload-", ignore_cleanup_errors=True)
            return Path(self._folder.name) / str(next(self._numbers))

    def store(self, chunks: Iterable[bytes]) -> Path:
        """Write a file that is no part of the form; return its path. If ``chunks`` raises, the file
        is deleted. Several threads may call this method.
        """
        with _disk_errors():
            path = self._new_path()
            try:
                with path.open("xb") as file:
                    file.writelines(chunks)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return path

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        with _disk_errors():
            self.file.write(raw_data)

    def file_complete(self, file_size: int) -> FileOnDisk:
        with _disk_errors():
            self.file.close()
        return FileOnDisk(
            Path(self.file.name),
            name=self.file_name,
            content_type=self.content_type,
            size=file_size,
            charset=self.charset,
            content_type_extra=self.content_type_extra,
        )

    def delete(self) -> None:
        """Delete all files of the request, incomplete ones too."""
        if self.file is not None:
            with suppress(OSError):  # a full disk; the file is deleted anyway
                self.file.close()
        if self._folder is not None:
            self._folder.cleanup()


class FileOnDisk(UploadedFile):
    """A complete file, closed until ``open``."""

    def __init__(self, path: Path, **description: object) -> None:
        super().__init__(**description)
        self._path = path

    def temporary_file_path(self) -> str:
        return str(self._path)

    def open(self, mode: str = "rb") -> FileOnDisk:
        self.close()
        self.file = self._path.open(mode)
        return self

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailableError("The disk for uploads is full; try again later.") from error
