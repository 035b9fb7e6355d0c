"""Decisions of moderators, and their export as a data set."""

from detection.review.decisions import (
    ReviewError,
    StaleDecisionError,
    claim,
    decide,
    pass_over,
)
from detection.review.export import VAL_SHARE, ReviewExport
from detection.review.queue import claim_next, count_waiting
