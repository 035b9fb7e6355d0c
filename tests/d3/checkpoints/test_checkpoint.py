from __future__ import annotations

import json
import struct
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from detection.d3 import Detector
from detection.d3.checkpoints import build_network, describe, draw_permutations, load, record, save
from detection.d3.errors import CheckpointError
from detection.d3.network import D3Network
from detection.d3.preprocessing import Preprocessing
from tests.support.checkpoints import ARCHITECTURE, a_checkpoint, refused, rewritten, with_weights
from tests.support.scorecards import a_scorecard

pytestmark = pytest.mark.stateless


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    save(a_checkpoint(), path)
    return path


def test_everything_that_is_saved_is_loaded(path):
    saved, loaded = a_checkpoint(), load(path)
    assert loaded.weights.keys() == saved.weights.keys()
    assert all(torch.equal(loaded.weights[name], saved.weights[name]) for name in saved.weights)
    assert replace(loaded, weights={}) == replace(saved, weights={})


def test_the_network_of_a_checkpoint_computes_what_was_saved(path):
    torch.manual_seed(0)
    original = D3Network(ARCHITECTURE).eval()
    images, permutations = torch.randn(1, 3, 64, 64), torch.arange(16)[None]
    with torch.inference_mode():
        expected = original(images, permutations)
        assert torch.equal(build_network(load(path))(images, permutations), expected)


def test_a_description_reads_no_weights(path):
    whole = path.read_bytes()
    header = struct.unpack("<Q", whole[:8])[0] + 8
    path.write_bytes(whole[:header] + bytes(len(whole) - header))
    facts = describe(path)
    assert facts["format"] == "d3-detector/1"
    assert facts["name"] == "d3-test"
    assert facts["threshold"] == 0.625
    with pytest.raises(CheckpointError, match="not the ones that were saved"):
        load(path)


def test_the_version_changes_with_any_weight():
    checkpoint = a_checkpoint()
    changed = with_weights(checkpoint, {"attention_head.fc.bias": lambda bias: bias.add_(1e-3)})
    assert replace(checkpoint, threshold=0.5).version == checkpoint.version
    assert changed.version != checkpoint.version
    assert len(checkpoint.version) == 16


def test_permutations_depend_on_the_checkpoint_alone():
    few, more = (a_checkpoint(permutations=count).permutation_lists() for count in (2, 4))
    assert more[:2] == few
    assert len({tuple(permutation) for permutation in more}) == 4
    assert all(sorted(permutation) == list(range(16)) for permutation in more)
    assert a_checkpoint(permutation_seed=8).permutation_lists() != few


def test_permutations_are_the_same_for_all_time():
    assert draw_permutations(0, 1, 8) == [[4, 2, 6, 0, 7, 5, 1, 3]]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(path):
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="temperature must be a positive number"):
        save(a_checkpoint(temperature=0.0), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_an_error_in_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot be written: .+\.$"):
        save(a_checkpoint(), tmp_path / "file" / "checkpoint.safetensors")


def test_storing_a_measurement_changes_nothing_else(path):
    before = load(path)

    record(path, a_scorecard(pictures=10))
    record(path, a_scorecard())

    after = load(path)
    assert before.scorecard is None
    assert after.scorecard == a_scorecard()
    assert after.metrics["auc"] == before.metrics["auc"]
    assert after.version == before.version
    assert replace(after, weights={}, metrics={}) == replace(before, weights={}, metrics={})
    assert all(torch.equal(after.weights[name], before.weights[name]) for name in before.weights)


def test_a_detector_has_the_stored_measurement(path):
    record(path, a_scorecard())
    assert Detector.from_checkpoint(path, device="cpu").info.scorecard == a_scorecard()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"metrics": '{"test": {"auc": 0.9}}'}, "measurement on a test split"),
        ({"threshold": None}, "lacks the field 'threshold'"),
        ({"threshold": "1.5"}, "threshold must lie between 0 and 1"),
        ({"threshold": "NaN"}, "threshold must lie between 0 and 1"),
        ({"threshold": "true"}, "'threshold' of .+ has the wrong type"),
        ({"threshold": "{"}, "'threshold' of .+ is not valid JSON"),
        ({"uncertain": "[0.5]"}, "uncertain band needs two numbers"),
        ({"uncertain": "[0.9, 0.1]"}, "uncertain band must lie between"),
        ({"permutations": "0"}, "number of permutations must lie between"),
        ({"temperature": "-1"}, "temperature must be a positive number"),
        ({"temperature": "Infinity"}, "temperature must be a positive number"),
        ({"colour": '"blue"'}, "unknown field 'colour'"),
        ({"format": "d3-detector/2"}, "has format d3-detector/2; only d3-detector/1 can"),
        ({"version": '"0000000000000000"'}, "not the ones that were saved"),
        ({"architecture": "{}"}, "description of the network"),
        ({"preprocessing": '{"size": 64}'}, "description of the network"),
    ],
)
def test_invalid_metadata_are_refused(path, changes, problem):
    rewritten(path, changes)
    with refused(path, problem):
        load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"shuffle_patch": 0},
        {"shuffle_patch": 15},
        {"image_size": -64},
        {"image_size": "64"},
        {"outputs": 3},
        {"colour": 1},
        {"tower": {"kind": "unheard-of"}},
        {"tower": {"kind": "clip", "width": 64, "layers": 10**9, "patch_size": 14}},
        {"tower": {"kind": "clip", "width": 65, "layers": 1, "patch_size": 14}},
    ],
)
def test_architectures_that_make_no_network_are_refused(path, changes):
    rewritten(path, {"architecture": json.dumps(asdict(ARCHITECTURE) | changes)})
    with refused(path):
        load(path)


def test_views_of_another_size_than_the_network_takes_are_refused(path):
    rewritten(path, {"preprocessing": json.dumps(asdict(Preprocessing(size=32)))})
    with pytest.raises(CheckpointError, match="differ in size"):
        load(path)


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("attention_head.fc.bias", None, "lacks the weights 'attention_head.fc.bias'"),
        ("spare", torch.zeros(1), "unknown weights 'spare'"),
        ("attention_head.fc.bias", torch.zeros(2), r"shape \(2,\) instead of \(1,\)"),
        ("attention_head.fc.bias", torch.zeros(1, dtype=torch.int32), "torch.int32"),
        ("attention_head.fc.bias", torch.tensor([torch.nan]), "not all finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, name, tensor, problem):
    weights = {**a_checkpoint().weights, name: tensor}
    if tensor is None:
        del weights[name]
    path = tmp_path / "wrong.safetensors"
    save(a_checkpoint(weights=weights), path)
    with refused(path, problem):
        load(path)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 500, 5000, -1])
def test_a_file_cut_anywhere_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    for read in (describe, load):
        with refused(path):
            read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"hello, I am a text file",
        b"\x80\x04\x95pickle",
        b"PK\x03\x04 not really",
        b"\xff" * 8 + b"{",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 4) + b"[{}]",
        struct.pack("<Q", 25) + b'{"__metadata__":{"a":[]}}',
        struct.pack("<Q", 12) + b'{"a":{"b":1}',
    ],
)
def test_a_file_of_something_else_is_refused(path, content):
    path.write_bytes(content)
    with refused(path):
        load(path)


def test_a_folder_or_a_missing_file_is_refused(tmp_path):
    for path, problem in ((tmp_path, "a directory"), (tmp_path / "missing", "no such file")):
        for read in (describe, load):
            with pytest.raises(CheckpointError, match=problem):
                read(path)
