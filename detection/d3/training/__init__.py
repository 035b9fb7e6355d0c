"""Training: from a folder of labelled pictures to a checkpoint."""

from .augmentation import FILTERS, random_crop
from .loop import EpochMetrics, Schedule
from .run import TrainingResult, train_detector, tunes_head
