"""Decisions of moderators, and their export as a data set."""

from detection.review.decisions import Decided, ReviewError, StaleDecisionError
from detection.review.export import VAL_SHARE, ExportError, ReviewExport

__all__ = [
    "VAL_SHARE",
    "Decided",
    "ExportError",
    "ReviewError",
    "ReviewExport",
    "StaleDecisionError",
]
