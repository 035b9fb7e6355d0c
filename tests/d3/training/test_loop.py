from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from detection.d3.dataset import Sample
from detection.d3.errors import TrainingError
from detection.d3.training import Schedule
from detection.d3.training.loop import Trainer

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

SAMPLES = [Sample(Path(f"{i}.png"), "gan", i % 2) for i in range(40)]


class Line(nn.Module):
    """Two numbers in, one logit out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = nn.Linear(2, 1)

    def forward(self, points):
        return self.line(points)[:, 0]


def points(*, separable: bool = True):
    """Return one batch: the label is the sign of the first number, or independent of it."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([float(sample.label) for sample in SAMPLES])
    values = torch.randn(40, 2, generator=generator)
    if separable:
        values[:, 0] = labels * 2 - 1
    return [((values,), labels)]


def fit(
    folder: Path, *, epochs: int, separable: bool = True, resume: bool = False, run: str = "lines"
) -> Trainer:
    schedule = Schedule(epochs=epochs, learning_rate=0.05, patience=2)
    trainer = Trainer(Line(), schedule, folder, torch.device("cpu"), run)
    if resume:
        trainer.resume()
    batches = points(separable=separable)
    trainer.fit(lambda epoch: batches * 5, lambda: batches, SAMPLES)
    return trainer


def test_training_separates_points(tmp_path):
    trainer = fit(tmp_path, epochs=20)
    assert trainer.best.val_accuracy == 1
    assert trainer.history[-1].train_loss < trainer.history[0].train_loss


def test_the_learning_rate_falls_until_training_stops_early(tmp_path):
    trainer = fit(tmp_path, epochs=500, separable=False)
    assert len(trainer.history) < 500
    assert trainer.learning_rate < 1e-6
    assert {round(np.log10(m.learning_rate / 0.05)) for m in trainer.history} >= {0, -1, -2}


def test_the_best_weights_are_returned_rather_than_the_last(tmp_path):
    trainer = fit(tmp_path, epochs=30, separable=False)
    module = Line()
    module.load_state_dict(trainer.best_weights)
    logits = module(*points(separable=False)[0][0]).detach().numpy()
    accuracy = np.mean((logits > 0) == [sample.label for sample in SAMPLES])
    assert accuracy == pytest.approx(trainer.best.val_accuracy)


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    uninterrupted = fit(whole, epochs=6)
    fit(parts, epochs=3)
    resumed = fit(parts, epochs=6, resume=True)
    assert resumed.history == uninterrupted.history
    for name, tensor in uninterrupted.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[name], tensor)


def test_the_run_folder_has_metrics_and_curves(tmp_path):
    fit(tmp_path, epochs=3)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_another_runs_state_is_refused(tmp_path):
    fit(tmp_path, epochs=1)
    with pytest.raises(TrainingError, match="other options"):
        fit(tmp_path, epochs=2, resume=True, run="other lines")


def test_resuming_without_an_earlier_run_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="no interrupted run"):
        fit(tmp_path, epochs=1, resume=True)


def test_a_damaged_state_is_refused(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"PK\x03\x04 not a state")
    with pytest.raises(TrainingError, match="damaged"):
        fit(tmp_path, epochs=1, resume=True)


def test_a_loss_that_is_not_a_number_ends_the_run_with_a_sentence(tmp_path):
    trainer = Trainer(Line(), Schedule(2, 0.1), tmp_path, torch.device("cpu"), "lines")
    [(_, labels)] = points()
    nowhere = [((torch.full((40, 2), float("nan")),), labels)]
    with pytest.raises(TrainingError, match="no longer finite"):
        trainer.fit(lambda epoch: nowhere, points, SAMPLES)
