"""Files in the layouts of published weights, built from a plain CLIP and a bare head."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

TINY = Path(__file__).parents[1] / "golden" / "tiny"
CLIP, HEAD = TINY / "clip_tiny_openai.pt", TINY / "head.pth"
HEAD_LAYOUTS = ("bare", "cuda", "prefixed", "full", "full_module", "wrapped")

Weights = dict[str, Tensor]


def read(path: Path) -> Weights:
    return torch.load(path, map_location="cpu", weights_only=True)


def head_layout(name: str, folder: Path) -> Path:
    """Return a file with the tiny head in one of HEAD_LAYOUTS. The last three have a tower too."""
    if name in ("bare", "cuda"):
        return HEAD if name == "bare" else TINY / "head_cuda.pth"
    path = folder / f"{name}.pth"
    torch.save(_head_entries(name), path)
    return path


def openai_archive(weights: Weights, path: Path) -> Path:
    """Write a TorchScript archive with these entries, the container that OpenAI publishes."""
    torch.jit.script(_module_tree(weights)).save(path)
    return path


def visual_only(weights: Weights) -> Weights:
    names = [name for name in weights if name.startswith("visual.")]
    return {name.removeprefix("visual."): weights[name] for name in names}


def hugging_face(weights: Weights) -> Weights:
    """Rename the vision tower as in transformers' CLIPModel, and add a part of its text tower."""
    tower = visual_only(weights)
    theirs = {
        "embeddings.class_embedding": tower.pop("class_embedding"),
        "embeddings.patch_embedding.weight": tower.pop("conv1.weight"),
        "embeddings.position_embedding.weight": tower.pop("positional_embedding"),
        "embeddings.position_ids": torch.arange(257)[None],
    }
    projection = tower.pop("proj")
    for name, tensor in tower.items():
        if "in_proj" in name:
            block, _, kind = name.partition("attn.in_proj_")
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                theirs[f"{_renamed(block)}self_attn.{part}_proj.{kind}"] = piece.clone()
        else:
            theirs[_renamed(name)] = tensor
    return {
        **{f"vision_model.{name}": tensor for name, tensor in theirs.items()},
        "visual_projection.weight": projection.T.contiguous(),
        "text_model.embeddings.position_embedding.weight": torch.zeros(77, 64),
    }


def save_safetensors(weights: Weights, path: Path) -> Path:
    save_file(weights, path)
    return path


def _renamed(name: str) -> str:
    for ours, theirs in (
        ("transformer.resblocks.", "encoder.layers."),
        ("ln_pre", "pre_layrnorm"),
        ("ln_post", "post_layernorm"),
        ("ln_", "layer_norm"),
        ("attn.out_proj", "self_attn.out_proj"),
        ("c_fc", "fc1"),
        ("c_proj", "fc2"),
    ):
        name = name.replace(ours, theirs)
    return name


def _head_entries(name: str) -> dict:
    head = {f"attention_head.{key}": tensor for key, tensor in read(HEAD).items()}
    if name == "prefixed":
        return head
    full = {f"model.{key}": tensor.float() for key, tensor in read(CLIP).items()} | head
    if name == "full_module":
        return {f"module.{key}": tensor for key, tensor in full.items()}
    if name == "wrapped":
        optimizer = torch.optim.AdamW([torch.zeros(2, requires_grad=True)]).state_dict()
        return {"model": full, "optimizer": optimizer, "total_steps": 7}
    return full


def _module_tree(weights: Weights) -> nn.Module:
    root = nn.Module()
    for name, tensor in weights.items():
        *path, leaf = name.split(".")
        module = root
        for step in path:
            if step not in module._modules:
                module.add_module(step, nn.Module())
            module = module._modules[step]
        module.register_buffer(leaf, tensor)
    return root
