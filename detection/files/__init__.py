"""Stored files: their names, their storage, and how originals are read."""

from detection.files.csv_cells import cell
from detection.files.keys import clean_filename, result_filename, storage_key
from detection.files.storage import LinkError, PresignedS3Storage, verify_link

__all__ = [
    "LinkError",
    "PresignedS3Storage",
    "cell",
    "clean_filename",
    "result_filename",
    "storage_key",
    "verify_link",
]
