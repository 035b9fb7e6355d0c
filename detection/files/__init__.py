"""Files: their names and keys, the storage with its links, CSV files."""

from detection.files.csv_table import CsvTable
from detection.files.keys import (
    FOLDERS,
    TEMPORARY,
    clean_filename,
    extension,
    original_filename,
    result_filename,
    searched_text,
    storage_key,
)
from detection.files.storage import LinkError, PresignedS3Storage, verify_link
