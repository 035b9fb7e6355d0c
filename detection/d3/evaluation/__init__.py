"""Measure a detector on labelled images, report the metrics, and store them in the checkpoint."""

from .evaluation import Evaluation, Unreadable, evaluate
from .metrics import DRAWS, INTERVAL, Estimate
from .perturbations import parse_perturbations
from .recording import check_recordable, record_evaluation
from .report import HTML_NAME, Occasion, write_report
from .tables import metrics_table, pooled_table, robustness_table, table_notes
