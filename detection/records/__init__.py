"""Write, delete, find and count records."""

from detection.records.batches import close_batch, open_batch
from detection.records.deleting import delete_with_files
from detection.records.duplicates import BestFrame, ImageScore, find_scores, same_bytes
from detection.records.lookalikes import (
    agreement_of,
    delete_index_rows,
    lookalikes_of,
    nearest_earlier,
    nearest_reviewed,
)
from detection.records.originals import OriginalLostError, read_original
from detection.records.paging import CURSOR, Cursor, newest_first, sent_between
from detection.records.perceptual_hash import BITS, REGIONS, perceptual_hashes
from detection.records.refusals import note_refusal
from detection.records.tables import check_tables
from detection.records.totals import EVER, Row, count_review
from detection.records.undoing import delete_files, undo_writes
from detection.records.visibility import sees_all, visible_batches, visible_predictions
from detection.records.writing import write_predictions
