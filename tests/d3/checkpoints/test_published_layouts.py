from __future__ import annotations

import functools
import hashlib
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import Tensor

from detection.d3.checkpoints import clip_weights, load, save, weight_files
from detection.d3.errors import CheckpointError
from detection.d3.network import ARCHITECTURES, Architecture, ClipTowerConfig
from detection.d3.preprocessing import Preprocessing
from tests.support.checkpoints import refused
from tests.support.published_layouts import (
    CLIP,
    HEAD,
    HEAD_LAYOUTS,
    head_layout,
    hugging_face,
    openai_archive,
    read,
    save_safetensors,
    visual_only,
)

pytestmark = pytest.mark.stateless

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def version() -> str:
    return load(HEAD, clip_weights=CLIP).version


def test_sizes_are_read_from_the_shapes():
    checkpoint = load(HEAD, clip_weights=CLIP)
    assert checkpoint.architecture == Architecture(tower=ClipTowerConfig(width=128, layers=3))
    assert checkpoint.preprocessing == Preprocessing()
    assert checkpoint.name == "d3-clip-w128-l3"
    assert checkpoint.threshold == 0.5
    assert checkpoint.training == {
        "imported_from": "head.pth",
        "clip_weights": "clip_tiny_openai.pt",
    }


def test_half_precision_becomes_single_precision():
    weights = load(HEAD, clip_weights=CLIP).weights
    assert read(CLIP)["visual.conv1.weight"].dtype == torch.float16
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


@pytest.mark.parametrize("layout", HEAD_LAYOUTS)
def test_each_layout_of_the_head_holds_the_same_network(layout, version, tmp_path):
    path = head_layout(layout, tmp_path)
    own_tower = layout in ("full", "full_module", "wrapped")
    loaded = load(path, clip_weights=None if own_tower else CLIP)
    assert loaded.version == version
    bare = load(HEAD, clip_weights=CLIP)
    assert replace(loaded, weights={}, training={}) == replace(bare, weights={}, training={})


def legacy(weights: Weights, path: Path) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


CLIP_LAYOUTS: dict[str, Callable[[Weights, Path], object]] = {
    "state dict": torch.save,
    "state dict of an old PyTorch": legacy,
    "single precision": lambda w, path: torch.save({k: t.float() for k, t in w.items()}, path),
    "parallel": lambda w, path: torch.save({f"module.{k}": t for k, t in w.items()}, path),
    "wrapped": lambda w, path: torch.save({"epoch": 3, "state_dict": w}, path),
    "vision tower": lambda w, path: torch.save(visual_only(w), path),
    "archive": openai_archive,
    "open_clip": save_safetensors,
    "Hugging Face": lambda w, path: save_safetensors(hugging_face(w), path),
    "Hugging Face, PyTorch": lambda w, path: torch.save(hugging_face(w), path),
    "Hugging Face, vision tower": lambda w, path: save_safetensors(
        {
            name.removeprefix("vision_model."): tensor
            for name, tensor in hugging_face(w).items()
            if name.startswith("vision_model.")
        },
        path,
    ),
}


@pytest.mark.parametrize("layout", CLIP_LAYOUTS)
def test_each_layout_of_clip_holds_the_same_network(layout, version, tmp_path):
    path = tmp_path / "clip"
    CLIP_LAYOUTS[layout](read(CLIP), path)
    assert load(HEAD, clip_weights=path, trust_torchscript=True).version == version


def test_the_content_decides_about_the_layout_and_not_the_name(version, tmp_path):
    path = tmp_path / "clip.safetensors"
    torch.save(read(CLIP), path)
    assert load(HEAD, clip_weights=path).version == version


def test_an_archive_of_unknown_origin_is_not_opened(tmp_path):
    path = openai_archive(read(CLIP), tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match="TorchScript archive, which is a program"):
        load(HEAD, clip_weights=path)


def test_the_published_archive_is_known_by_its_checksum(tmp_path, version, monkeypatch):
    path = openai_archive(read(CLIP), tmp_path / "clip.pt")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(weight_files, "OPENAI_ARCHIVES", {"clip": checksum})
    assert load(HEAD, clip_weights=path).version == version


def test_a_converted_checkpoint_needs_nothing_else(tmp_path, version):
    path = tmp_path / "converted.safetensors"
    save(load(HEAD, clip_weights=CLIP), path)
    assert load(path).version == version


def test_a_whole_model_uses_its_own_tower(tmp_path, version):
    assert load(head_layout("full", tmp_path), clip_weights=tmp_path / "none").version == version


def test_openai_has_a_tower_for_each_architecture_with_one():
    widths = {a.tower.width for a in ARCHITECTURES.values() if isinstance(a.tower, ClipTowerConfig)}
    assert clip_weights.OPENAI_MODELS.keys() == widths
    models = {model for model, _ in clip_weights.OPENAI_MODELS.values()}
    assert models == weight_files.OPENAI_ARCHIVES.keys()


def test_openai_has_nothing_for_a_head_of_another_width():
    with pytest.raises(CheckpointError, match="no CLIP whose features have 128 values"):
        load(HEAD, clip_weights="openai")


# Downloads, from a server of our own


@pytest.fixture
def address(tmp_path, monkeypatch) -> Iterator[str]:
    """Where clip.pt is served; the cache is empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / CLIP.name).write_bytes(CLIP.read_bytes())
    handler = functools.partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{CLIP.name}"
        server.shutdown()


def test_weights_are_downloaded_once(address, version):
    checksum = hashlib.sha256(CLIP.read_bytes()).hexdigest()
    assert load(HEAD, clip_weights=f"{address}#sha256={checksum}").version == version
    gone = address.replace(CLIP.name, "gone/" + CLIP.name)
    assert load(HEAD, clip_weights=f"{gone}#sha256={checksum}").version == version


def test_a_damaged_file_of_the_cache_is_downloaded_again(address, version, tmp_path):
    checksum = hashlib.sha256(CLIP.read_bytes()).hexdigest()
    load(HEAD, clip_weights=f"{address}#sha256={checksum}")
    [cached] = (file for file in (tmp_path / "cache").rglob("*") if file.is_file())
    cached.write_bytes(b"damaged")
    assert load(HEAD, clip_weights=f"{address}#sha256={checksum}").version == version


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda address: address, "needs their checksum"),
        (lambda address: f"{address}#sha256=12", "needs their checksum"),
        (lambda address: f"{address}#sha256={'0' * 64}", "has another checksum"),
        (
            lambda address: f"{address}.gone#sha256={'0' * 64}",
            "cannot be downloaded: File not found",
        ),
        (lambda address: f"http://127.0.0.1:1/x#sha256={'0' * 64}", "refused"),
        (lambda address: f"http://[x/y#sha256={'0' * 64}", "cannot be downloaded"),
    ],
)
def test_a_failed_download_is_an_error_and_leaves_nothing(address, change, problem, tmp_path):
    with pytest.raises(CheckpointError, match=problem):
        load(HEAD, clip_weights=change(address))
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


@pytest.fixture
def openai(address, monkeypatch) -> str:
    """The folder of the server, where OpenAI's archive is. The copy on Hugging Face is missing."""
    folder = address.removesuffix(CLIP.name)
    monkeypatch.setitem(clip_weights.OPENAI_MODELS, 128, (CLIP.stem, "missing"))
    checksum = hashlib.sha256(CLIP.read_bytes()).hexdigest()
    monkeypatch.setitem(weight_files.OPENAI_ARCHIVES, CLIP.stem, checksum)
    monkeypatch.setattr(clip_weights, "OPENAI", folder + "{model}.pt?{checksum}")
    monkeypatch.setattr(clip_weights, "HUGGING_FACE", folder + "{copy}")
    return folder


@pytest.mark.parametrize(
    ("copy", "stored"),
    [("whole", "whole.safetensors"), ("cut", CLIP.name), ("missing", CLIP.name)],
)
def test_openai_means_a_whole_copy_or_else_the_archive_downloaded_once(
    openai, copy, stored, version, tmp_path, monkeypatch
):
    whole = tmp_path / "served" / "whole"
    save_safetensors(read(CLIP), whole)
    whole.with_name("cut").write_bytes(whole.read_bytes()[:-1])
    monkeypatch.setitem(clip_weights.OPENAI_MODELS, 128, (CLIP.stem, copy))
    assert load(HEAD, clip_weights="openai").version == version
    assert [file.name for file in (tmp_path / "cache").rglob("*.*")] == [stored]
    monkeypatch.setattr(clip_weights, "OPENAI", f"{openai}gone")
    monkeypatch.setattr(clip_weights, "HUGGING_FACE", f"{openai}gone")
    assert load(HEAD, clip_weights="openai").version == version


def test_an_archive_with_another_checksum_is_not_openais(openai, tmp_path, monkeypatch):
    monkeypatch.setitem(weight_files.OPENAI_ARCHIVES, CLIP.stem, "0" * 64)
    with pytest.raises(CheckpointError, match="has another checksum"):
        load(HEAD, clip_weights="openai")
    assert not [*(tmp_path / "cache").rglob("*.*")]


# Refusals


class Malice:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, legacy, lambda o, p: p.write_bytes(pickle.dumps(o))])
@pytest.mark.parametrize("as_clip", [False, True])
def test_code_in_a_pickle_never_runs(write, as_clip, tmp_path):
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    write({**read(HEAD), "extra": Malice(trace)}, path)
    with refused(path, "could run code"):
        load(HEAD if as_clip else path, clip_weights=path if as_clip else CLIP)
    assert not trace.exists()


def changed_head(**changes) -> dict:
    entries = {**read(HEAD), **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: value for name, value in entries.items() if value is not None}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (changed_head(query__weight=None), "lacks the weights 'query.weight'"),
        (changed_head(fc__bias=None), "lacks the weights 'fc.bias'"),
        (changed_head(spare=torch.zeros(1)), "unknown weights 'spare'"),
        (changed_head(key__bias=torch.zeros(5)), r"'key.bias' .+ shape \(5,\) instead of \(128,\)"),
        (changed_head(query__weight=torch.zeros(())), "'query.weight' .+ shape"),
        (changed_head(query__weight=torch.zeros(0, 3)), "'query.weight' .+ shape"),
        (changed_head(fc__weight=torch.zeros(3, 256), fc__bias=torch.zeros(3)), "have shape"),
        (changed_head(key__bias=torch.zeros(128, dtype=torch.int64)), "are torch.int64"),
        (changed_head(key__bias=torch.zeros(128, dtype=torch.float64)), "are torch.float64"),
        (changed_head(key__bias=torch.full((128,), torch.inf)), "not all finite"),
        (changed_head(key__bias=torch.zeros(128).to_sparse()), "not an ordinary array"),
        (changed_head(key__bias=torch.zeros(128, device="meta")), "not an ordinary array"),
        (changed_head(key__bias="words"), "is a str, not weights"),
        ({}, "no attention head"),
        ({"model": {}}, "no attention head"),
        ({"epoch": 3}, "no attention head"),
        ({3: torch.zeros(1)}, "does not hold a dictionary"),
        ([torch.zeros(1)], "does not hold a dictionary"),
        (torch.zeros(1), "does not hold a dictionary"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(content, problem, tmp_path):
    path = tmp_path / "head.pth"
    torch.save(content, path)
    with refused(path, problem):
        load(path, clip_weights=CLIP)


def changed_clip(**changes) -> Weights:
    entries = read(CLIP)
    for name, value in changes.items():
        key = "visual." + name.replace("__", ".")
        del entries[key]
        if value is not None:
            entries[key] = value
    return entries


BLOCK = "transformer__resblocks__1__"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (changed_clip(ln_post__bias=None), "lacks the weights 'visual.ln_post.bias'"),
        (changed_clip(positional_embedding=None), "lacks .+ 'visual.positional_embedding'"),
        (changed_clip(**{f"{BLOCK}ln_1__bias": None}), "lacks .+resblocks.1.ln_1.bias'"),
        (changed_clip(conv1__weight=None), "no vision tower"),
        (changed_clip(conv1__weight=torch.zeros(128, 3, 14, 7)), "cut images into squares"),
        (changed_clip(conv1__weight=torch.zeros(128, 3, 0, 0)), "cut images into squares"),
        (changed_clip(conv1__weight=torch.zeros(96, 3, 14, 14)), "96 wide"),
        (changed_clip(conv1__weight=torch.zeros(64, 3, 14, 14)), "have shape"),
        (changed_clip(positional_embedding=torch.zeros(256, 128)), "not for square images"),
        (changed_clip(positional_embedding=torch.zeros(257, 64)), "have shape"),
        (changed_clip(ln_post__bias=torch.zeros(128, dtype=torch.int8)), "are torch.int8"),
        (read(CLIP) | {"visual.attn_pool.query": torch.zeros(1)}, "unknown weights 'visual.attn"),
        (read(HEAD), "no vision tower"),
    ],
)
def test_clip_weights_that_do_not_fit_are_refused(content, problem, tmp_path):
    path = tmp_path / "clip.pt"
    torch.save(content, path)
    with refused(path, problem):
        load(HEAD, clip_weights=path)


POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (POINTER, "a Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html><title>Sign in</title></html>", "a web page"),
        (b"\xef\xbb\xbf\r\n  <html>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    ],
)
@pytest.mark.parametrize("as_clip", [False, True])
def test_a_file_that_was_not_downloaded_is_named(content, what, as_clip, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)

    with refused(path, what):
        load(HEAD, clip_weights=path) if as_clip else load(path)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_cnndetection_is_named(prefix, tmp_path):
    path = tmp_path / "blur_jpg_prob0.1.pth"
    network = torch.nn.Linear(2048, 1)
    model = {f"{prefix}conv1.weight": torch.zeros(64, 3, 7, 7)}
    model[f"{prefix}layer4.2.conv3.weight"] = torch.zeros(1)
    model |= {f"{prefix}fc.{name}": tensor for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters()).state_dict()
    torch.save({"model": model, "optimizer": optimizer, "total_steps": 7}, path)

    with refused(path, "as CNNDetection publishes it"):
        load(path)


def test_a_missing_piece_is_named_as_its_file_names_it(tmp_path):
    weights = hugging_face(read(CLIP))
    del weights["vision_model.encoder.layers.2.self_attn.k_proj.bias"]
    path = save_safetensors(weights, tmp_path / "clip.safetensors")
    with pytest.raises(CheckpointError, match=r"'vision_model.encoder.layers.2.self_attn.k_proj"):
        load(HEAD, clip_weights=path)


def test_a_head_for_another_tower_is_refused(tmp_path):
    width = 64
    head = {
        f"{name}.{kind}": torch.zeros((rows, columns) if kind == "weight" else (rows,))
        for name, rows, columns in (
            ("query", width, width),
            ("key", width, width),
            ("value", width, width),
            ("fc", 1, 2 * width),
        )
        for kind in ("weight", "bias")
    }
    path = tmp_path / "head.pth"
    torch.save(head, path)
    with pytest.raises(CheckpointError, match=r"of 64 values, but .+ gives 128\.$"):
        load(path, clip_weights=CLIP)


def test_the_refusal_of_a_head_alone_says_what_is_missing():
    with refused(HEAD, "attention head alone, and the CLIP weights"):
        load(HEAD)


@pytest.mark.parametrize("length", [0, 2, 3, 100, 60_000, -1])
def test_a_truncated_file_is_refused(length, tmp_path):
    for whole in (HEAD, CLIP):
        path = tmp_path / "cut.pth"
        path.write_bytes(whole.read_bytes()[:length])
        source, clip = (path, CLIP) if whole == HEAD else (HEAD, path)
        with refused(path):
            load(source, clip_weights=clip)


@pytest.mark.parametrize("find", [bytes.index, bytes.rindex])
def test_damage_inside_an_archive_is_refused(find, tmp_path):
    """In the pickle of its first entry, and in the name of that entry in the directory."""
    path = tmp_path / "damaged.pth"
    data = bytearray(HEAD.read_bytes())
    start = find(bytes(data), b"data.pkl")
    data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    with refused(path):
        load(path, clip_weights=CLIP)
