"""Old records deleted, records and files compared, totals counted again."""

from detection.upkeep.provenance import count_uninspected, inspect_records
from detection.upkeep.purging import purge_predictions
from detection.upkeep.recounting import Recount, rebuild_totals
from detection.upkeep.verification import find_discrepancies, is_plausible
