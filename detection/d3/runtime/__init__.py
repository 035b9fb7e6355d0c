"""How a network runs on this machine: precision, memory, threads, and towers for inference."""

from .fast_towers import QUICK_GELU, FastClipTower, inference_tower
from .memory import INFERENCE, TRAINING, reuse_freed_memory
from .precision import (
    DTYPES,
    MAX_SCORE_DIFFERENCE,
    check_precision,
    cpu_has_bf16,
    fastest_precision,
    training_autocast,
    trial_pictures,
)
from .threads import one_core_threads
