"""The tables of an evaluation: their rows, and their text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from ..text_table import text_table
from .evaluation import Condition
from .metrics import MIN_IMAGES, Estimate, Metrics

COLUMNS = {
    "average_precision": "AP",
    "auc": "AUC",
    "accuracy": "Accuracy",
    "accuracy_real": "Acc. real",
    "accuracy_fake": "Acc. fake",
    "balanced_accuracy": "Balanced",
    "brier": "Brier",
    "calibration_error": "ECE",
}
POOLED_COLUMNS = ("AUC", "Found", "False alarms", "ECE", "Outside band", "Acc. there")

Row = tuple[str, int, list[Estimate | None]]  # source or condition, images, a value per column


def metrics_table(condition: Condition) -> str:
    """Return the condition's metrics for a terminal, each with its interval below it."""
    header = ["Source", "Images", *column_titles(condition).values()]
    return _estimates_table(header, metric_rows(condition))


def table_notes(condition: Condition) -> str:
    """Return an explanation of the table's rows; empty for a single source."""
    measurement = condition.measurement
    if len(measurement.sources) == 1:
        return ""
    return (
        "A source of fakes alone is compared with the real images of all sources. The mean is over "
        f"the sources with at least {MIN_IMAGES} images of each of their classes, or over all "
        f"sources if none has so many. The mean AUC is that of {measurement.averaged} sources. "
        "Pooled: all images as one source."
    )


def pooled_table(conditions: Sequence[Condition]) -> str:
    """Return the metrics of all images under each condition, for a terminal."""
    return _estimates_table(["All images", "Images", *POOLED_COLUMNS], pooled_rows(conditions))


def robustness_table(conditions: Sequence[Condition]) -> str:
    """Return the AUC of each source under each condition, for a terminal."""
    header = ["AUC", "Images", *(condition.name for condition in conditions)]
    return _estimates_table(header, auc_rows(conditions))


def _rows(condition: Condition) -> list[tuple[str, int, Metrics]]:
    """Return (source, images, metrics); mean and pooled last if there are several sources."""
    measurement = condition.measurement
    rows = [(each.source, each.images, each.metrics) for each in measurement.sources]
    if len(rows) > 1:
        pooled = measurement.pooled
        rows.append(("mean", pooled.images, measurement.mean))
        rows.append((pooled.source, pooled.images, pooled.metrics))
    return rows


def column_titles(condition: Condition) -> dict[str, str]:
    """Return the ``COLUMNS`` that at least one source defines, with their titles."""
    metrics = [each.metrics for each in condition.measurement.sources]
    return {
        name: title
        for name, title in COLUMNS.items()
        if any(getattr(each, name) for each in metrics)
    }


def metric_rows(condition: Condition) -> list[Row]:
    """Return the metrics of each source in the order of ``column_titles``."""
    return [
        (name, count, [getattr(metrics, column) for column in column_titles(condition)])
        for name, count, metrics in _rows(condition)
    ]


def auc_rows(conditions: Sequence[Condition]) -> list[Row]:
    """Return (source, images, AUC under each condition) of the rows that have an AUC."""
    tables = [_rows(condition) for condition in conditions]
    return [
        (name, count, [table[i][2].auc for table in tables])
        for i, (name, count, metrics) in enumerate(tables[0])
        if metrics.auc
    ]


def pooled_rows(conditions: Sequence[Condition]) -> list[Row]:
    """Return (condition, images, values in the order of ``POOLED_COLUMNS``)."""
    return [
        (condition.name, condition.measurement.pooled.images, _pooled_values(condition))
        for condition in conditions
    ]


def _pooled_values(condition: Condition) -> list[Estimate | None]:
    metrics, certainty = condition.measurement.pooled.metrics, condition.measurement.certainty
    found_real = metrics.accuracy_real
    return [
        metrics.auc,
        metrics.accuracy_fake,
        found_real.complement() if found_real else None,
        metrics.calibration_error,
        certainty.share,
        certainty.accuracy,
    ]


def _estimates_table(header: Sequence[str], rows: Sequence[Row]) -> str:
    lines = [list(header)]
    for name, count, estimates in rows:
        lines.append([name, str(count), *(_value(each) for each in estimates)])
        if any(estimates):
            lines.append(["", "", *(_interval(each) for each in estimates)])
    return text_table(lines)


def _value(estimate: Estimate | None) -> str:
    return f"{estimate.value:.3f}" if estimate else "–"


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return "–".join(f"{bound:.3f}".removeprefix("0") for bound in (estimate.low, estimate.high))
