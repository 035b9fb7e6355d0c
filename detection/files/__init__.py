"""Files: their names and keys, the storage with its links, cells of CSV files."""

from detection.files.csv_cells import BYTE_ORDER_MARK, cell
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
