"""Read prompt, model and sampler from the texts that generators write."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from sd_parsers.exceptions import ParserError
from sd_parsers.parsers import (
    AUTOMATIC1111Parser,
    FooocusParser,
    InvokeAIParser,
    NovelAIParser,
    Parser,
)

from .generators import generator_named_in
from .metadata_blocks import Text

Settings = dict[str, str]  # by name: prompt, negative_prompt, model, sampler, version, program

MAX_PARSED = 2**14  # characters that a parser of sd-parsers gets
MAX_NODES = 2000
_PREFIX = re.compile(r"^(?:prompt|workflow):\s*")
_VERSION = re.compile(r"\bVersion: ([^,\n]{1,100})")
_FORGE = re.compile(r"f\d")
_LOADERS = ("ckpt_name", "unet_name", "model_name", "model")


def settings_of(generator: str, text: Text, texts: list[Text]) -> Settings:
    """Return the settings in the text of a generator; empty if they cannot be read."""
    read = _READERS.get(generator)
    try:
        return read(text, texts) if read else {}
    except (ParserError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _automatic1111(text: Text, texts: list[Text]) -> Settings:
    settings = _parsed(AUTOMATIC1111Parser(), {"parameters": text.value})
    before_settings = text.value.partition("\nSteps: ")[0]
    settings.setdefault("prompt", before_settings.partition("\nNegative prompt:")[0])
    if version := _VERSION.search(text.value):
        program = "Forge" if _FORGE.match(version[1]) else generator_named_in(version[1])
        settings["program"] = program
        if program != version[1]:
            settings["version"] = version[1]
    return settings


def _novelai(text: Text, texts: list[Text]) -> Settings:
    keys = ("Comment", "Description", "Source")
    return _parsed(NovelAIParser(), {t.key: t.value for t in texts if t.key in keys})


def _parsed(parser: Parser, parameters: dict[str, str]) -> Settings:
    if any(len(value) > MAX_PARSED for value in parameters.values()):
        return {}
    # Some of the parser's patterns take quadratic time for rows of spaces.
    spaced = {key: _with_single_spaces(value) for key, value in parameters.items()}
    try:
        info = parser.parse(spaced)
    except ParserError:
        return {}
    sampler = next(iter(info.samplers), None)
    return {
        "prompt": info.full_prompt,
        "negative_prompt": info.full_negative_prompt,
        "model": next((model.name or "" for model in info.models), ""),
        "sampler": str(sampler.name) if sampler else "",
    }


def _with_single_spaces(value: str) -> str:
    lines = (" ".join(line.split()) for line in value.splitlines())
    return "\n".join(filter(None, lines))


def _midjourney(text: Text, texts: list[Text]) -> Settings:
    prompt, _, job = text.value.partition("Job ID:")
    version = re.search(r"--v(?:ersion)? (\S{1,20})", prompt)
    return {"prompt": prompt, "job": job, "version": version[1] if version else ""}


def _swarmui(text: Text, texts: list[Text]) -> Settings:
    given = json.loads(text.value)["sui_image_params"]
    return {
        "prompt": given.get("prompt"),
        "negative_prompt": given.get("negativeprompt"),
        "model": given.get("model"),
        "sampler": given.get("sampler"),
        "version": given.get("swarm_version"),
    }


def _draw_things(text: Text, texts: list[Text]) -> Settings:
    given = json.loads(text.value)
    names = {"prompt": "c", "negative_prompt": "uc", "model": "model", "sampler": "sampler"}
    return {name: given.get(key) for name, key in names.items()}


def _comfyui(text: Text, texts: list[Text]) -> Settings:
    """Read a graph: its sampler, the texts that are linked to the sampler, and a loaded model."""
    graph = json.loads(_PREFIX.sub("", text.value))
    nodes = {name: node["inputs"] for name, node in [*graph.items()][:MAX_NODES] if _is_node(node)}
    sampler = next((inputs for inputs in nodes.values() if "steps" in inputs), {})
    return {
        "prompt": next(_linked_texts(nodes, sampler.get("positive")), ""),
        "negative_prompt": next(_linked_texts(nodes, sampler.get("negative")), ""),
        "model": next(_loaded_models(nodes), ""),
        "sampler": sampler.get("sampler_name"),
    }


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("inputs"), dict)


def _linked_texts(nodes: dict[str, dict], link: Any) -> Iterator[str]:
    """Follow the links from an input, and yield the texts of the nodes, nearest first."""
    links, seen = deque([link]), set()
    while links:
        link = links.popleft()
        name = str(link[0]) if isinstance(link, list) and link else None
        if name is None or name in seen or name not in nodes:
            continue
        seen.add(name)
        inputs = nodes[name]
        for key in ("text", "text_g", "prompt", "value"):
            if isinstance(inputs.get(key), str) and inputs[key].strip():
                yield inputs[key]
        links += inputs.values()


def _loaded_models(nodes: dict[str, dict]) -> Iterator[str]:
    for key in _LOADERS:
        for inputs in nodes.values():
            if isinstance(inputs.get(key), str):
                yield inputs[key]


_READERS: dict[str, Callable[[Text, list[Text]], Settings]] = {
    "AUTOMATIC1111": _automatic1111,
    "ComfyUI": _comfyui,
    "Draw Things": _draw_things,
    "Fooocus": lambda text, _: _parsed(FooocusParser(), {"parameters": text.value}),
    "InvokeAI": lambda text, _: _parsed(InvokeAIParser(), {text.key: text.value}),
    "Midjourney": _midjourney,
    "NovelAI": _novelai,
    "SwarmUI": _swarmui,
}
