"""Delete old records, compare records with files, count totals again, inspect old originals."""

from detection.upkeep.provenance import count_uninspected, inspect_records
from detection.upkeep.purging import purge_predictions
from detection.upkeep.recounting import Recount, rebuild_totals
from detection.upkeep.verification import find_discrepancies, is_storage_plausible
