"""Checkpoints whose CLIP tower is in a file of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from detection.d3 import Detector
from detection.d3.checkpoints import Checkpoint, TowerFile, describe, load, record, save
from detection.d3.checkpoints.clip_layouts import read_clip_tower
from detection.d3.errors import CheckpointError, TowerError
from tests.support.checkpoints import refused, rewritten
from tests.support.published_layouts import (
    CLIP,
    HEAD,
    hugging_face,
    openai_archive,
    read,
    save_safetensors,
    visual_only,
)
from tests.support.scorecards import a_scorecard

pytestmark = pytest.mark.stateless


@pytest.fixture
def cache(tmp_path) -> Path:
    """A folder with the tiny CLIP's tower."""
    folder = tmp_path / "clip"
    folder.mkdir()
    save_file(tower_weights(), folder / "clip-tiny.safetensors")
    return folder


@pytest.fixture
def whole() -> Checkpoint:
    return load(HEAD, clip_weights=CLIP)


@pytest.fixture
def head_alone(whole) -> Checkpoint:
    sha256 = read_clip_tower(CLIP, read(CLIP)).sha256
    return replace(whole, tower_file=TowerFile("clip-tiny", sha256))


@pytest.fixture
def path(head_alone, tmp_path) -> Path:
    save(head_alone, tmp_path / "head.safetensors")
    return tmp_path / "head.safetensors"


def tower_weights(change: float = 0.0) -> dict[str, torch.Tensor]:
    weights = read_clip_tower(CLIP, read(CLIP)).weights
    return {name: (tensor + change).clone() for name, tensor in weights.items()}


def test_the_file_holds_the_head_and_names_the_tower(path, head_alone):
    assert all(name.startswith("attention_head.") for name in load_file(path))
    assert describe(path)["tower_file"] == asdict(head_alone.tower_file)
    assert describe(path)["format"] == "d3-detector/1"


def test_a_checkpoint_with_its_own_tower_names_none(whole, tmp_path):
    save(whole, tmp_path / "whole.safetensors")
    assert "tower_file" not in describe(tmp_path / "whole.safetensors")


def test_the_network_is_the_same_as_with_the_tower_inside(path, cache, whole, head_alone):
    loaded = load(path, clip_cache=cache)
    assert loaded.version == head_alone.version != whole.version
    assert loaded.tower_file == head_alone.tower_file
    assert loaded.weights.keys() == whole.weights.keys()
    assert all(torch.equal(loaded.weights[name], whole.weights[name]) for name in whole.weights)


def test_a_detector_finds_the_tower(path, cache, head_alone):
    detector = Detector.from_checkpoint(path, clip_cache=cache, device="cpu", precision="fp32")
    assert detector.info.version == head_alone.version


def test_the_environment_names_the_cache(path, cache, monkeypatch):
    monkeypatch.setenv("CLIP_CACHE", str(cache))
    assert load(path).tower_file.name == "clip-tiny"


def test_with_another_tower_there_is_no_measurement(path, cache, tmp_path):
    record(path, a_scorecard())
    save_file(tower_weights(change=0.01), tmp_path / "other.safetensors")

    assert load(path, clip_cache=cache).scorecard == a_scorecard()
    assert load(path, clip_cache=cache).tower_file.name == "clip-tiny"
    assert load(path, clip_weights=tmp_path / "other.safetensors").scorecard is None


@pytest.mark.parametrize(
    "layout",
    [
        torch.save,
        openai_archive,
        lambda w, path: save_safetensors(visual_only(w), path),
        lambda w, path: save_safetensors(hugging_face(w), path),
    ],
    ids=["whole CLIP", "TorchScript", "open_clip", "Hugging Face"],
)
def test_the_same_tower_in_another_layout_is_the_same_version(path, layout, tmp_path, head_alone):
    layout(read(CLIP), tmp_path / "clip.file")
    loaded = load(path, clip_weights=tmp_path / "clip.file", trust_torchscript=True)
    assert loaded.version == head_alone.version
    assert loaded.tower_file == head_alone.tower_file


def test_another_given_tower_makes_another_version(path, tmp_path, head_alone):
    other = tmp_path / "other.safetensors"
    save_file(tower_weights(change=1e-4), other)
    loaded = load(path, clip_weights=other)
    assert loaded.version != head_alone.version
    save(loaded, tmp_path / "own.safetensors")  # no cache has that tower
    assert load(tmp_path / "own.safetensors").version == loaded.version


def test_a_missing_tower_is_named_with_the_command_that_fetches_it(path, tmp_path):
    with refused(path, r"needs the CLIP tower clip-tiny.+fetch_clip", error=TowerError):
        load(path, clip_cache=tmp_path / "empty")


def other_weights(place: Path) -> None:
    save_file(tower_weights(change=1e-4), place)


def cut(place: Path) -> None:
    place.write_bytes(place.read_bytes()[:-1])


def no_tower(place: Path) -> None:
    save_file({"weights": torch.zeros(1)}, place)


@pytest.mark.parametrize("damage", [other_weights, cut, no_tower])
def test_another_file_in_the_cache_is_refused(path, cache, damage):
    damage(cache / "clip-tiny.safetensors")
    with refused(path, r"is not the one .+fetch_clip", error=TowerError):
        load(path, clip_cache=cache)


def test_a_given_tower_of_another_shape_is_refused(path, tmp_path):
    weights = {n: t for n, t in tower_weights().items() if "resblocks.2" not in n}
    save_file(weights, tmp_path / "short.safetensors")
    with pytest.raises(CheckpointError, match=r"short\.safetensors lacks the weights"):
        load(path, clip_weights=tmp_path / "short.safetensors")


@pytest.mark.parametrize(
    "tower_file",
    [
        {},
        {"name": "clip-tiny"},
        {"name": "../clip", "sha256": "0" * 64},
        {"name": "clip-tiny", "sha256": "0" * 63},
        {"name": 1, "sha256": "0" * 64},
        {"name": "clip-tiny", "sha256": "0" * 64, "url": "x"},
    ],
)
def test_a_tower_that_is_badly_named_is_refused(path, tower_file):
    for reader in (describe, load):
        with pytest.raises(CheckpointError, match="needs a name and a SHA-256"):
            reader(rewritten(path, {"tower_file": json.dumps(tower_file)}))


def test_another_hash_in_the_file_is_noticed(path, cache, head_alone):
    rewritten(path, {"tower_file": json.dumps({"name": "clip-tiny", "sha256": "0" * 64})})
    for source in ({"clip_cache": cache}, {"clip_weights": CLIP}):
        with pytest.raises(CheckpointError):
            load(path, **source)


def test_a_network_deeper_than_its_tower_is_refused(path, cache):
    architecture = describe(path)["architecture"]
    architecture["tower"]["layers"] = 10**9
    with pytest.raises(CheckpointError, match="description of the network"):
        load(rewritten(path, {"architecture": json.dumps(architecture)}), clip_cache=cache)
