"""Adapters add to the tower in training what is merged into it afterwards."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from detection.d3.adapters import AdaptedTower, adapter_shapes, adapters_of, merge, stacked
from detection.d3.checkpoints import load, record, save
from detection.d3.checkpoints.clip_layouts import expected_weights
from detection.d3.errors import CheckpointError
from detection.d3.network import D3Network
from tests.support.checkpoints import a_clip, tower_apart, untrained
from tests.support.scorecards import a_scorecard

pytestmark = pytest.mark.stateless

ARCHITECTURE = a_clip(layers=3)


@pytest.fixture
def network() -> D3Network:
    torch.manual_seed(0)
    return D3Network(ARCHITECTURE).eval().requires_grad_(requires_grad=False)


@pytest.fixture
def adapters() -> dict[str, torch.Tensor]:
    shapes = adapter_shapes(ARCHITECTURE.tower, 4)
    return {name: 0.05 * torch.randn(shape.shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_a_merged_tower_gives_the_features_of_the_adapted_one(network, adapters, dtype, tolerance):
    adapted = AdaptedTower(network.tower, 4, dtype).eval()
    names = {f"blocks.{name}": tensor for name, tensor in adapters.items()}
    assert not adapted.load_state_dict(names, strict=False).unexpected_keys
    assert adapters_of(adapted.state_dict(), "").keys() == adapters.keys()
    views = torch.randn(2, 3, 64, 64)
    before = network.tower(views)

    merged = copy.deepcopy(network.tower)
    merged.load_state_dict(merge(network.tower.state_dict(), adapters))

    assert torch.equal(network.tower(views), before)  # the tower itself stays as it is
    assert (merged(views) - before).abs().max() > 2 * tolerance
    assert (adapted(views) - merged(views)).abs().max() < tolerance


def test_new_adapters_change_nothing_and_they_alone_learn(network):
    adapted = AdaptedTower(network.tower, 2, torch.float32).eval()
    views = torch.randn(2, 3, 64, 64)
    assert torch.allclose(adapted(views), network.tower(views), atol=1e-5)
    learning = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert learning == {f"blocks.{name}" for name in adapter_shapes(ARCHITECTURE.tower, 2)}


def test_in_training_the_tower_sees_half_the_patches(network):
    tower = AdaptedTower(network.tower, 2, torch.float32)
    views = torch.randn(2, 3, 64, 64)
    whole = tower.eval().embed(views)
    seen = tower.train().embed(views)
    assert seen.shape[1] == 1 + 8
    assert torch.equal(seen[:, 0], whole[:, 0])
    assert all(any(torch.equal(token, each) for each in whole[0]) for token in seen[0])
    assert not torch.equal(tower.embed(views), seen)


def test_adapters_of_an_adapted_tower_are_stacked_on_the_earlier_ones(network, adapters):
    second = {name: 0.05 * torch.randn(t.shape) for name, t in adapters.items()}
    tower = network.tower.state_dict()

    twice = merge(merge(tower, adapters), second)

    at_once = merge(tower, stacked(adapters, second))
    assert all(torch.allclose(at_once[name], twice[name], atol=1e-6) for name in tower)
    assert any(not torch.equal(at_once[name], tower[name]) for name in tower)
    assert stacked({}, second) == second


@pytest.fixture
def stored(network, adapters, tmp_path):
    """A checkpoint with adapters, whose tower is in a file of its own."""
    checkpoint = untrained(
        ARCHITECTURE,
        weights=merge(network.state_dict(), adapters, prefix="tower."),
        tower_file=tower_apart(network, tmp_path),
        adapters=adapters,
    )
    save(checkpoint, tmp_path / "adapted.safetensors")
    return checkpoint


def test_a_file_with_adapters_is_loaded_with_its_tower_as_it_was_saved(stored, tmp_path):
    path = tmp_path / "adapted.safetensors"
    tower = sum(w.nbytes for w in expected_weights(ARCHITECTURE.tower, 64).values())
    assert path.stat().st_size < tower

    loaded = load(path, clip_cache=tmp_path)

    assert loaded.version == stored.version
    assert loaded.weights.keys() == stored.weights.keys()
    assert all(torch.equal(loaded.weights[name], stored.weights[name]) for name in stored.weights)
    assert loaded.adapters.keys() == stored.adapters.keys()


def test_a_measurement_is_recorded_beside_the_adapters(stored, tmp_path):
    path = tmp_path / "adapted.safetensors"
    size = path.stat().st_size

    record(path, a_scorecard())

    assert path.stat().st_size < size + 10_000
    loaded = load(path, clip_cache=tmp_path)
    assert (loaded.version, loaded.tower_file) == (stored.version, stored.tower_file)
    assert loaded.adapters.keys() == stored.adapters.keys()
    assert loaded.scorecard == a_scorecard()


def test_other_adapters_are_another_version(stored):
    changed = {name: tensor + 1e-3 for name, tensor in stored.adapters.items()}
    assert replace(stored, adapters=changed).version != stored.version


def test_a_missing_adapter_is_named(stored, tmp_path):
    fewer = dict(stored.adapters)
    del fewer["1.out.up"]
    save(replace(stored, adapters=fewer), tmp_path / "fewer.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks the weights 'adapters\.1\.out\.up'"):
        load(tmp_path / "fewer.safetensors", clip_cache=tmp_path)
