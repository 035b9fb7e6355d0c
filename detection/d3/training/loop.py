"""The training loop: from batches to the best weights. A run folder records its progress.

The schedule is that of the published code: AdamW, binary cross entropy on the logit, a division of
the learning rate by ten when validation stagnates, an early stop when that does not help, and the
best weights rather than the last. Validation uses the mean AUC over the sources instead of the
accuracy, because a source may have pictures of one class only.
"""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from ..dataset import Sample
from ..errors import TrainingError
from ..files import replacing
from ..runtime import training_autocast
from .sampling import epoch_seed
from .validation import accuracy, auc, source_means

MIN_LEARNING_RATE = 1e-6
EMA_DECAY = 0.995

Batch = tuple[tuple[Tensor, ...], Tensor]  # inputs of the network, labels (N,)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The length and speed of training.

    ``patience`` is the number of epochs without a better validation after which the learning rate
    falls. With None the rate is constant, and the last weights count as the best.
    """

    epochs: int
    learning_rate: float
    patience: int | None = 3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """One line of ``metrics.csv``. Accuracy and AUC are means over the validation sources."""

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_auc: float


class Trainer:
    """Fits ``module`` to batches and writes the run folder.

    ``module`` maps a batch's inputs to logits (N,). The validated and the best weights are
    exponential averages over the steps. With ``state.pt`` ``resume`` continues an interrupted run,
    with the same result. ``run`` identifies the options and the pictures, so that ``resume``
    refuses the state of another run.
    """

    def __init__(
        self, module: nn.Module, schedule: Schedule, folder: Path, device: torch.device, run: str
    ) -> None:
        self.run = run
        self.module = module.to(device)
        self.average = AveragedModel(module, multi_avg_fn=_moving_average, use_buffers=True)
        self.schedule = schedule
        self.folder = folder
        self.device = device
        parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters,
            lr=schedule.learning_rate,
            betas=schedule.betas,
            weight_decay=schedule.weight_decay,
        )
        self.history: list[EpochMetrics] = []
        self.best_weights = _learned(self.average.module)

    @property
    def state_path(self) -> Path:
        return self.folder / "state.pt"

    @property
    def best(self) -> EpochMetrics | None:
        if self.schedule.patience is None:
            return self.history[-1] if self.history else None
        order = attrgetter("val_auc", "val_accuracy")
        return max(self.history, key=order, default=None)

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def fit(
        self,
        training: Callable[[int], Iterable[Batch]],
        validation: Callable[[], Iterable[Batch]],
        samples: list[Sample],
        on_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
    ) -> None:
        """Train to the end of the schedule.

        ``training`` returns the batches of an epoch, ``validation`` those of the validation split,
        whose samples in the same order are ``samples``. Raises TrainingError when the loss is no
        longer finite.
        """
        try:
            while not self.finished():
                epoch = len(self.history)
                torch.manual_seed(epoch_seed(self.schedule.seed, epoch))
                rate, loss = self.learning_rate, self._train(training(epoch), epoch)
                logits = self.predict(validation())
                metrics = _epoch_metrics(epoch, rate, loss, logits, samples)
                self._end_epoch(metrics)
                on_epoch(metrics)
        finally:
            if self.history:
                draw_curves(self.history, self.folder / "curves.png")

    def _end_epoch(self, metrics: EpochMetrics) -> None:
        """Remember better weights, or lower the learning rate without them; write the files."""
        self.history.append(metrics)
        if self.best is metrics:
            self.best_weights = _learned(self.average.module)
        elif (metrics.epoch - self.best.epoch) % self.schedule.patience == 0:
            for group in self.optimizer.param_groups:
                group["lr"] /= 10
        self._write(metrics)

    def finished(self) -> bool:
        return len(self.history) >= self.schedule.epochs or self.learning_rate < MIN_LEARNING_RATE

    def predict(self, batches: Iterable[Batch]) -> np.ndarray:
        """Return logits of the averaged weights, float32 (N,)."""
        self.average.eval()
        progress = tqdm(batches, desc="validation", unit="batch", leave=False, disable=None)
        with torch.inference_mode(), training_autocast(self.device):
            logits = [self.average(*self._move(inputs)).float().cpu() for inputs, _ in progress]
        return torch.cat(logits).numpy()

    def resume(self) -> None:
        """Continue from ``state.pt``. Raises TrainingError if it is missing or of another run."""
        try:
            state = torch.load(self.state_path, map_location=self.device, weights_only=True)
        except FileNotFoundError as error:
            raise TrainingError(f"There is no interrupted run in {self.folder}.") from error
        except Exception as error:  # damaged files raise errors of all kinds
            raise TrainingError(f"The state in {self.state_path} is damaged.") from error
        if state["run"] != self.run:
            raise TrainingError(f"The run in {self.folder} had other options or other pictures.")
        self.module.load_state_dict(state["module"], strict=False)
        self.average.module.load_state_dict(state["average"], strict=False)
        self.average.n_averaged.fill_(state["steps"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best_weights = state["best_weights"]
        self.history = [EpochMetrics(**metrics) for metrics in state["history"]]

    def _train(self, batches: Iterable[Batch], epoch: int) -> float:
        self.module.train()
        losses = []
        progress = tqdm(batches, desc=f"epoch {epoch + 1}", unit="batch", leave=False, disable=None)
        for inputs, labels in progress:
            with training_autocast(self.device):
                logits = self.module(*self._move(inputs)).float()
            targets = labels.to(self.device)
            loss = functional.binary_cross_entropy_with_logits(logits, targets)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
            self.optimizer.step()
            self.average.update_parameters(self.module)
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise TrainingError("The loss is no longer finite; try a lower learning rate.")
            progress.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
        return float(np.mean(losses))

    def _move(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        return [tensor.to(self.device, non_blocking=True) for tensor in inputs]

    def _write(self, metrics: EpochMetrics) -> None:
        _append_csv(self.folder / "metrics.csv", metrics, first=len(self.history) == 1)
        state = {
            "run": self.run,
            "module": _learned(self.module),
            "average": _learned(self.average.module),
            "steps": self.average.n_averaged.item(),
            "optimizer": self.optimizer.state_dict(),
            "best_weights": self.best_weights,
            "history": [asdict(metrics) for metrics in self.history],
        }
        with replacing(self.state_path) as part:
            torch.save(state, part)


def _learned(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the weights that are not frozen, and of the buffers."""
    frozen = {name for name, weight in module.named_parameters() if not weight.requires_grad}
    state = module.state_dict().items()
    return {name: copy.deepcopy(tensor) for name, tensor in state if name not in frozen}


@torch.no_grad()
def _moving_average(averages: list[Tensor], values: list[Tensor], steps: Tensor) -> None:
    """Average exponentially, at first over few steps, so that the random weights soon fade."""
    decay = min(EMA_DECAY, (1 + steps.item()) / (10 + steps.item()))
    if averages[0].is_floating_point():
        torch._foreach_lerp_(averages, values, 1 - decay)
    else:  # counters of batches
        torch._foreach_copy_(averages, values)


def draw_curves(history: list[EpochMetrics], path: Path) -> None:
    """Write losses and validation metrics by epoch as PNG."""
    from matplotlib.figure import Figure  # slow to import, and only training needs it

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss, quality = figure.subplots(1, 2)
    epochs = [metrics.epoch + 1 for metrics in history]
    for axes, names in ((loss, ("train_loss", "val_loss")), (quality, ("val_accuracy", "val_auc"))):
        for name in names:
            axes.plot(epochs, [getattr(metrics, name) for metrics in history], label=name)
        axes.set_xlabel("epoch")
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _epoch_metrics(
    epoch: int, learning_rate: float, loss: float, logits: np.ndarray, samples: list[Sample]
) -> EpochMetrics:
    labels = np.array([sample.label for sample in samples])
    return EpochMetrics(
        epoch=epoch,
        learning_rate=learning_rate,
        train_loss=loss,
        val_loss=float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()),
        val_accuracy=source_means(accuracy, samples, logits),
        val_auc=source_means(auc, samples, logits),
    )


def _append_csv(path: Path, metrics: EpochMetrics, *, first: bool) -> None:
    with path.open("w" if first else "a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(asdict(metrics)))
        if first:
            writer.writeheader()
        writer.writerow(asdict(metrics))
