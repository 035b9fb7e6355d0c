"""The report of an evaluation: a JSON file, and one self-contained HTML page."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..dataset import FAKE, REAL, Sample
from ..html import STYLE, thumbnail
from ..images import decode_image
from .evaluation import Evaluation, source_name
from .perturbations import SCREENSHOT_SCALE
from .plots import draw_figures
from .tables import POOLED_COLUMNS, auc_rows, column_titles, metric_rows, pooled_rows, table_notes

JSON_NAME, HTML_NAME = "evaluation.json", "evaluation.html"
CLASS_NAMES = {REAL: "real", FAKE: "fake"}
MISTAKES_SHOWN = 12  # of each kind


@dataclass(frozen=True, slots=True)
class Occasion:
    """The data set, the time and the command of an evaluation."""

    dataset: Path
    split: str
    command: str
    finished_at: datetime
    seconds: float

    def relative(self, sample: Sample) -> str:
        """Return the sample's path relative to the data set."""
        return sample.path.relative_to(self.dataset).as_posix()


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image on the wrong side of the threshold; ``thumbnail`` is a data URI."""

    path: str
    truth: str
    score: float
    thumbnail: str


def write_report(*, evaluation: Evaluation, occasion: Occasion, folder: Path) -> None:
    """Write the JSON file and the page into the folder; create it if necessary. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(as_document(evaluation, occasion), indent=1, ensure_ascii=False)
    _write(folder / JSON_NAME, f"{document}\n")
    _write(folder / HTML_NAME, render_html(evaluation, occasion))


def as_document(evaluation: Evaluation, occasion: Occasion) -> dict[str, Any]:
    """Return all measurements, with every score, as JSON values."""
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
    """Return the report as an HTML page that needs no other file."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("evaluation.html").render(
        evaluation=evaluation,
        occasion=occasion,
        style=STYLE,
        titles=column_titles(evaluation.clean).values(),
        notes=table_notes(evaluation.clean),
        auc_rows=auc_rows(evaluation.conditions),
        rows={each.name: metric_rows(each) for each in evaluation.conditions},
        screenshot_scale=SCREENSHOT_SCALE,
        pooled_titles=POOLED_COLUMNS,
        pooled_rows=pooled_rows(evaluation.conditions),
        figures=draw_figures(evaluation),
        mistakes=worst_mistakes(evaluation, occasion),
        share_of_fakes=float(evaluation.labels.mean()),
    )


def worst_mistakes(evaluation: Evaluation, occasion: Occasion) -> dict[str, list[Mistake]]:
    """Return the real and the fake images with the most wrong scores, worst first."""
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


def _write(path: Path, text: str) -> None:
    # File names need not be valid Unicode.
    path.write_text(text, encoding="utf-8", errors="replace")
