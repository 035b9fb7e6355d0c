"""Figures of use and of quality."""

from detection.statistics.periods import DEFAULT_DAYS, MAX_DAYS, Period, PeriodError
from detection.statistics.quality import Confusion, robustness
from detection.statistics.usage import (
    Usage,
    count_failed_batches,
    count_groups,
    count_predictions,
    count_predictions_by_day,
    count_scores,
    latency_percentiles,
    read_days,
    read_refusals,
    review_queue,
)
