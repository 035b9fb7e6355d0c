"""The tower that fetch_clip stores has the weights and the features of its ONNX graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from detection.d3.checkpoints import CLIP_VIT_B_16, untrained_head
from detection.d3.checkpoints.clip_layouts import ClipTower, read_clip_tower
from detection.d3.clip import VisionTransformer
from detection.d3.errors import CheckpointError
from detection.d3.network import ARCHITECTURES
from tests.support.golden_clip import STRIDE, digest, images
from tests.support.published_layouts import hugging_face

pytestmark = pytest.mark.stateless

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "clip-vit-b-16.json").read_text())


@pytest.fixture(scope="module")
def tower(tower_path) -> ClipTower:
    return read_clip_tower(tower_path, load_file(tower_path))


def in_graph_names(weights: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Return the tower's weights by their names in the ONNX graph."""
    clip = {f"visual.{name}": tensor for name, tensor in weights.items()}
    theirs = hugging_face({**clip, "visual.proj": torch.zeros(1, 1)})
    return {
        name: tensor.numpy()
        for name, tensor in theirs.items()
        if name.startswith("vision_model.") and not name.endswith("position_ids")
    }


def test_the_weights_are_those_of_the_graph_to_the_bit(tower):
    assert digest(in_graph_names(tower.weights)) == GOLDEN["weights_sha256"]
    assert tower.sha256 == CLIP_VIT_B_16.sha256


def test_the_features_are_those_of_the_graph_with_activations_in_fp32(tower):
    network = VisionTransformer(image_size=224, patch_size=16, width=768, layers=12)
    network.load_state_dict(tower.weights)
    with torch.inference_mode():
        features = network.eval()(torch.from_numpy(images()))
    expected = torch.tensor(GOLDEN["features"])
    torch.testing.assert_close(features[:, ::STRIDE], expected, rtol=0, atol=1e-4)


def test_the_names_of_the_graph_are_read_as_the_same_tower(tower, tower_path):
    theirs = {n: torch.from_numpy(array) for n, array in in_graph_names(tower.weights).items()}
    again = read_clip_tower(tower_path, theirs)
    assert (again.config, again.image_size) == (tower.config, 224)
    assert again.sha256 == CLIP_VIT_B_16.sha256


def test_the_tower_is_refused_for_another_architecture(tower_path):
    with pytest.raises(CheckpointError, match=r"is vit-b-16, not vit-l-14\.$"):
        untrained_head(tower_path, architecture="vit-l-14", seed=0)


def test_training_begins_with_the_tower_and_leaves_it_in_its_file(tower_path):
    start = untrained_head(tower_path, architecture="vit-b-16", seed=0)
    assert start.architecture == ARCHITECTURES["vit-b-16"]
    assert start.tower_file == CLIP_VIT_B_16
    assert not [name for name in start.own_weights() if name.startswith("tower.")]
