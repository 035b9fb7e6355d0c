"""Training: from a folder of labelled pictures to a checkpoint."""

from .augmentation import FILTERS, random_crop
from .loop import EpochMetrics, Schedule
from .run import TrainingResult, train_detector, tunes_head

__all__ = [
    "FILTERS",
    "EpochMetrics",
    "Schedule",
    "TrainingResult",
    "random_crop",
    "train_detector",
    "tunes_head",
]
