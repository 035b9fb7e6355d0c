"""An evaluation on paper: a JSON file, one self-contained HTML page, and tables for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..images.decoding import decode_image
from ..training.dataset import FAKE, REAL, Sample
from .evaluation import Condition, Evaluation, source_name
from .html import TEMPLATES, thumbnail
from .metrics import MIN_IMAGES, Estimate, Metrics
from .perturbation import SCREENSHOT_SCALE
from .plots import draw_figures

JSON_NAME, HTML_NAME = "evaluation.json", "evaluation.html"
CLASS_NAMES = {REAL: "real", FAKE: "fake"}
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
MISTAKES_SHOWN = 12  # of each kind

_Row = tuple[str, int, list[Estimate | None]]  # source or condition, images, a value per column


@dataclass(frozen=True, slots=True)
class Occasion:
    """Which images were measured, when, and with which command."""

    dataset: Path
    split: str
    command: str
    finished_at: datetime
    seconds: float

    def relative(self, sample: Sample) -> str:
        """The sample's path as seen from the data set."""
        return sample.path.relative_to(self.dataset).as_posix()


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image on the wrong side of the threshold; ``thumbnail`` is a data URI."""

    path: str
    truth: str
    score: float
    thumbnail: str


def write_report(*, evaluation: Evaluation, occasion: Occasion, folder: Path) -> None:
    """Write both files into the folder, which is made if need be. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(as_document(evaluation, occasion), indent=1, ensure_ascii=False)
    _write(folder / JSON_NAME, f"{document}\n")
    _write(folder / HTML_NAME, render_html(evaluation, occasion))


def as_document(evaluation: Evaluation, occasion: Occasion) -> dict[str, Any]:
    """Everything that was measured, every score included, as JSON values."""
    return {
        "command": occasion.command,
        "dataset": str(occasion.dataset),
        "split": occasion.split,
        "finished_at": occasion.finished_at.isoformat(timespec="seconds"),
        "seconds": round(occasion.seconds, 1),
        "detector": asdict(evaluation.detector),
        "conditions": {
            condition.name: asdict(condition.measurement) for condition in evaluation.conditions
        },
        "unreadable": [
            {"path": occasion.relative(each.sample), "reason": each.reason}
            for each in evaluation.unreadable
        ],
        "images": [
            {
                "path": occasion.relative(sample),
                "source": source_name(sample),
                "label": CLASS_NAMES[sample.label],
                "scores": {each.name: float(each.scores[i]) for each in evaluation.conditions},
            }
            for i, sample in enumerate(evaluation.samples)
        ],
    }


def render_html(evaluation: Evaluation, occasion: Occasion) -> str:
    """One page that needs no other file."""
    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("evaluation.html").render(
        evaluation=evaluation,
        occasion=occasion,
        titles=_columns(evaluation.clean).values(),
        notes=table_notes(evaluation.clean),
        auc_rows=_auc_rows(evaluation.conditions),
        rows={each.name: _metric_rows(each) for each in evaluation.conditions},
        screenshot_scale=SCREENSHOT_SCALE,
        pooled_titles=POOLED_COLUMNS,
        pooled_rows=_pooled_rows(evaluation.conditions),
        figures=draw_figures(evaluation),
        mistakes=worst_mistakes(evaluation, occasion),
        share_of_fakes=float(evaluation.labels.mean()),
    )


def worst_mistakes(evaluation: Evaluation, occasion: Occasion) -> dict[str, list[Mistake]]:
    """Of the real and of the fake images, those whose scores are most wrong, worst first."""
    scores, labels = evaluation.clean.scores, evaluation.labels
    threshold = evaluation.detector.threshold
    alarms = np.flatnonzero((labels == REAL) & (scores > threshold))
    misses = np.flatnonzero((labels == FAKE) & (scores <= threshold))
    worst = {
        "Real images called fake": alarms[np.argsort(-scores[alarms], kind="stable")],
        "Fakes called real": misses[np.argsort(scores[misses], kind="stable")],
    }
    return {
        title: [
            Mistake(
                path=occasion.relative(sample),
                truth=CLASS_NAMES[sample.label],
                score=float(scores[i]),
                thumbnail=thumbnail(decode_image(sample.path).pixels),
            )
            for i in indices[:MISTAKES_SHOWN]
            for sample in [evaluation.samples[i]]
        ]
        for title, indices in worst.items()
    }


def metrics_table(condition: Condition) -> str:
    """The condition's metrics for a terminal, each with its interval below it."""
    header = ["Source", "Images", *_columns(condition).values()]
    return _text_table(header, _metric_rows(condition))


def table_notes(condition: Condition) -> str:
    """What must be known to read the rows of the table, where there are several sources."""
    measurement = condition.measurement
    if len(measurement.sources) == 1:
        return ""
    return (
        "A source of fakes alone is compared with the real images of all sources. The mean is over "
        f"sources with at least {MIN_IMAGES} images of each class that they have, or over all if "
        f"none has so many: its AUC is that of {measurement.averaged}. Pooled: all images at once."
    )


def pooled_table(conditions: Sequence[Condition]) -> str:
    """What the detector does on all images under each condition, for a terminal."""
    return _text_table(["All images", "Images", *POOLED_COLUMNS], _pooled_rows(conditions))


def robustness_table(conditions: Sequence[Condition]) -> str:
    """The AUC of each source under each condition for a terminal."""
    header = ["AUC", "Images", *(condition.name for condition in conditions)]
    return _text_table(header, _auc_rows(conditions))


def _rows(condition: Condition) -> list[tuple[str, int, Metrics]]:
    """(source, images, metrics), mean and pooled last where there is more than one source."""
    measurement = condition.measurement
    rows = [(each.source, each.images, each.metrics) for each in measurement.sources]
    if len(rows) > 1:
        pooled = measurement.pooled
        rows.append(("mean", pooled.images, measurement.mean))
        rows.append((pooled.source, pooled.images, pooled.metrics))
    return rows


def _columns(condition: Condition) -> dict[str, str]:
    """Those of ``COLUMNS`` that at least one source defines."""
    metrics = [each.metrics for each in condition.measurement.sources]
    return {
        name: title
        for name, title in COLUMNS.items()
        if any(getattr(each, name) for each in metrics)
    }


def _metric_rows(condition: Condition) -> list[_Row]:
    """The metrics of each source in the order of ``_columns``."""
    return [
        (name, count, [getattr(metrics, column) for column in _columns(condition)])
        for name, count, metrics in _rows(condition)
    ]


def _auc_rows(conditions: Sequence[Condition]) -> list[_Row]:
    """(source, images, AUC under each condition) of the rows that have an AUC."""
    tables = [_rows(condition) for condition in conditions]
    return [
        (name, count, [table[i][2].auc for table in tables])
        for i, (name, count, metrics) in enumerate(tables[0])
        if metrics.auc
    ]


def _pooled_rows(conditions: Sequence[Condition]) -> list[_Row]:
    """(condition, images, values in the order of ``POOLED_COLUMNS``)."""
    return [
        (condition.name, condition.measurement.pooled.images, _pooled_values(condition))
        for condition in conditions
    ]


def _pooled_values(condition: Condition) -> list[Estimate | None]:
    metrics, certainty = condition.measurement.pooled.metrics, condition.measurement.certainty
    right = metrics.accuracy_real
    return [
        metrics.auc,
        metrics.accuracy_fake,
        right.complement() if right else None,
        metrics.calibration_error,
        certainty.share,
        certainty.accuracy,
    ]


def _text_table(header: Sequence[str], rows: Sequence[_Row]) -> str:
    lines = [list(header)]
    for name, count, estimates in rows:
        lines.append([name, str(count), *(_value(each) for each in estimates)])
        if any(estimates):
            lines.append(["", "", *(_interval(each) for each in estimates)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _value(estimate: Estimate | None) -> str:
    return f"{estimate.value:.3f}" if estimate else "–"


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return "–".join(f"{bound:.3f}".removeprefix("0") for bound in (estimate.low, estimate.high))


def _write(path: Path, text: str) -> None:
    # Names of files may hold bytes that are no text.
    path.write_text(text, encoding="utf-8", errors="replace")
