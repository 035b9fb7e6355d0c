"""The detector: its checkpoint, its CLIP tower, its device."""

from __future__ import annotations

import os

from d3site.settings.environment import BASE_DIR, DATA_DIR, env, env_path

MODEL_CHECKPOINT_PATH = env_path("MODEL_CHECKPOINT_PATH", "checkpoints/d3-clip-b-16.safetensors")
# Judges while the default's CLIP tower is missing. None where a checkpoint is configured.
FALLBACK_CHECKPOINT = (
    None
    if os.environ.get("MODEL_CHECKPOINT_PATH")
    else BASE_DIR / "checkpoints" / "d3-tiny.safetensors"
)
ACTIVE_CHECKPOINT_FILE = DATA_DIR / "active_checkpoint"  # names another, see activate_checkpoint
CLIP_CACHE = env_path("CLIP_CACHE", str(DATA_DIR / "clip"))  # towers that checkpoints share
CLIP_WEIGHTS = env.str("CLIP_WEIGHTS", "") or None
# Certificates in PEM of authorities whose signers of C2PA manifests are known
C2PA_TRUST_LIST = env_path("C2PA_TRUST_LIST", "") if env.str("C2PA_TRUST_LIST", "") else None
DEVICE = env.str("DEVICE", "auto")
PRECISION = env.str("PRECISION", "auto")
