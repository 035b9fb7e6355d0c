"""The plots of an evaluation, as SVG in the text colour of the surrounding page.

Curves differ by colour and by dash. The colours (after Okabe and Ito) are distinct for every kind
of colour vision, and visible on light and on dark pages.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from sklearn.metrics import roc_curve

from ..dataset import FAKE, REAL
from .evaluation import Condition, Evaluation
from .metrics import Estimate, SourceMetrics, reliability_bins

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6BB1", "#808080")
DASHES = ("-", "--", "-.", ":")
MAX_CURVES = 12
INK = "#010203"  # replaced by the page's text colour; nothing else has this colour
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "d3",
    "text.parse_math": False,  # names of folders may hold dollar signs
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
SCORE_BINS = np.linspace(0, 1, 26)
SIZE = (5.6, 4.2)  # inches


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot as an SVG element, with its title and its content in words."""

    title: str
    description: str
    svg: str


def draw_figures(evaluation: Evaluation) -> list[Figure]:
    """Draw the figures for which the evaluation has data."""
    with mpl.rc_context(STYLE):
        figures = [_scores(evaluation), _reliability(evaluation)]
        if evaluation.clean.measurement.pooled.metrics.auc:
            figures.insert(0, _roc(evaluation))
            if len(evaluation.conditions) > 1:
                figures.insert(1, _robustness(evaluation))
        return figures


def _roc(evaluation: Evaluation) -> Figure:
    canvas, axes = _axes("share of real images called fake", "share of fakes found")
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=1)
    labels, words = evaluation.labels, []
    for (colour, dash), each in zip(_lines(), _drawn(evaluation.clean), strict=False):
        own = _compared(evaluation, each)
        alarms, found, _ = roc_curve(labels[own], evaluation.clean.scores[own])
        name = f"{each.source}, AUC {each.metrics.auc.value:.3f}"
        axes.plot(alarms, found, color=colour, linestyle=dash, label=name)
        words.append(name)
    return Figure("ROC curves", f"ROC curves of {'; '.join(words)}.", _svg(canvas))


def _reliability(evaluation: Evaluation) -> Figure:
    canvas, axes = _axes("fake score", "share of images that are fake")
    bins = reliability_bins(evaluation.clean.scores, evaluation.labels)
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=1, label="perfect calibration")
    areas = [20 + 400 * each.images / len(evaluation.samples) for each in bins]
    means, shares = [each.mean_score for each in bins], [each.fake_share for each in bins]
    axes.plot(means, shares, color=COLOURS[0], linewidth=1)
    axes.scatter(means, shares, areas, COLOURS[0], alpha=0.85, label="larger: more images")
    words = "; ".join(
        f"at score {each.mean_score:.2f}, {each.fake_share:.0%} of {each.images} images are fake"
        for each in bins
    )
    return Figure("Reliability of the scores", f"{words.capitalize()}.", _svg(canvas))


def _robustness(evaluation: Evaluation) -> Figure:
    canvas, axes = _axes("", "AUC")
    names = [condition.name for condition in evaluation.conditions]
    places = np.arange(len(names))
    drawn = zip(*(_drawn(condition) for condition in evaluation.conditions), strict=True)
    for (colour, dash), under_each in zip(_lines(), drawn, strict=False):
        values = [each.metrics.auc.value for each in under_each]
        name = under_each[0].source
        axes.plot(places, values, color=colour, linestyle=dash, marker=".", label=name)
    means = [condition.measurement.mean.auc for condition in evaluation.conditions]
    _plot_with_intervals(axes, places, means)
    axes.axhline(0.5, color=INK, alpha=0.4, linewidth=1)
    axes.set_xlim(-0.3, len(names) - 0.7)
    axes.set_ylim(min(0.48, axes.get_ylim()[0]), 1.02)
    axes.set_xticks(places, names, rotation=30 if len(names) > 4 else 0)
    words = "; ".join(f"{name} {mean.value:.3f}" for name, mean in zip(names, means, strict=True))
    return Figure("Robustness", f"AUC, mean over sources: {words}.", _svg(canvas))


def _scores(evaluation: Evaluation) -> Figure:
    canvas, axes = _axes("fake score", "images")
    words = []
    classes = ((REAL, "real", COLOURS[0], ""), (FAKE, "fake", COLOURS[1], "///"))
    for label, name, colour, hatch in classes:
        own = evaluation.clean.scores[evaluation.labels == label]
        if own.size:
            axes.hist(own, SCORE_BINS, color=colour, alpha=0.5, hatch=hatch, label=name)
            words.append(f"{name} images have a median score of {np.median(own):.2f}")
    threshold = evaluation.detector.threshold
    axes.axvline(threshold, color=INK, linestyle="--", linewidth=1, label="threshold")
    axes.set_ylim(bottom=0)
    words.append(f"the threshold is {threshold:.3f}")
    return Figure("Scores", f"{'; '.join(words).capitalize()}.", _svg(canvas))


def _drawn(condition: Condition) -> list[SourceMetrics]:
    """Return the sources with an AUC, or all images as one source if there are none or too many."""
    measurement = condition.measurement
    sources = [each for each in measurement.sources if each.metrics.auc]
    return sources if 0 < len(sources) <= MAX_CURVES else [measurement.pooled]


def _compared(evaluation: Evaluation, source: SourceMetrics) -> np.ndarray:
    """Return for each image whether it counts in the source's AUC, bool (N,)."""
    if source == evaluation.clean.measurement.pooled:
        return np.ones(len(evaluation.samples), bool)
    own = evaluation.sources == source.source
    return own if source.real else own | (evaluation.labels == REAL)


def _plot_with_intervals(axes: Axes, places: np.ndarray, estimates: list[Estimate]) -> None:
    values = np.array([estimate.value for estimate in estimates])
    below = values - [estimate.low for estimate in estimates]
    above = [estimate.high for estimate in estimates] - values
    bars = np.maximum([below, above], 0)
    style = {"color": INK, "marker": "o", "capsize": 4, "linewidth": 2}
    axes.errorbar(places, values, bars, label="mean", **style)


def _lines() -> Iterator[tuple[str, str]]:
    """Yield colours with dashes, all different for the first ``MAX_CURVES``."""
    return zip(cycle(COLOURS), cycle(DASHES), strict=False)


def _axes(x_label: str, y_label: str) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=SIZE, layout="constrained")
    axes = canvas.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return canvas, axes


def _svg(canvas: Canvas) -> str:
    """Return the SVG element, without ids of groups, since ids must be unique on a page."""
    canvas.legend(loc="outside lower center", ncols=2)
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    canvas.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])
    return svg.replace(INK, "currentColor")
