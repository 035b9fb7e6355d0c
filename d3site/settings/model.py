"""The detector: its checkpoint, its CLIP tower, its device."""

from __future__ import annotations

import os

from d3site.settings.environment import BASE_DIR, DATA_DIR, env, env_path

MODEL_CHECKPOINT_PATH = env_path("MODEL_CHECKPOINT_PATH", "checkpoints/d3-clip-b-16.safetensors")
# The checkpoint in use while the default's CLIP tower is missing. None if one is configured.
FALLBACK_CHECKPOINT = (
    None
    if os.environ.get("MODEL_CHECKPOINT_PATH")
    else BASE_DIR / "checkpoints" / "d3-tiny.safetensors"
)
# Holds the path of the checkpoint that manage.py activate_checkpoint chose
ACTIVE_CHECKPOINT_FILE = DATA_DIR / "active_checkpoint"
CLIP_CACHE = env_path("CLIP_CACHE", str(DATA_DIR / "clip"))  # towers that checkpoints share
CLIP_WEIGHTS = env.str("CLIP_WEIGHTS", "") or None
# PEM file with certificates of authorities: signers that they certify are known
C2PA_TRUST_LIST = env_path("C2PA_TRUST_LIST", "") if env.str("C2PA_TRUST_LIST", "") else None
DEVICE = env.str("DEVICE", "auto")
PRECISION = env.str("PRECISION", "auto")
