"""Tables of generators: their names, and the marks of the texts that they write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .metadata_blocks import Text

# Patterns of each generator's name in fields for a program, a credit or an agent. Descriptions and
# prompts are not searched: a photograph may be described as "better than Midjourney".
_NAMES = {
    "Midjourney": r"midjourney",
    "DALL·E": r"dall[·.\- ]?e\b",
    "ChatGPT": r"chatgpt|gpt-?4o|gpt-image",
    "OpenAI": r"openai",
    "Adobe Firefly": r"firefly",
    "Google AI": r"google (?:generative )?ai\b|google gemini|\bimagen [0-9]|nano ?banana",
    "Grok": r"\bgrok\b|\bxai\b|\bx\.ai\b",
    "Meta AI": r"\bmeta ai\b|imagined with ai",
    "Bing Image Creator": r"bing image creator|image creator from (?:microsoft|bing)",
    "Microsoft Designer": r"microsoft designer|designer image creator",
    "Apple Image Playground": r"image playground",
    "NovelAI": r"novelai",
    "Draw Things": r"draw things",
    "InvokeAI": r"invoke ?ai",
    "ComfyUI": r"comfyui",
    "Fooocus": r"fooocus",
    "SwarmUI": r"swarmui",
    "stable-diffusion.cpp": r"stable-diffusion\.cpp",
    "SD.Next": r"\bsd\.next\b|sdnext",
    "Forge": r"stable diffusion (?:webui )?(?:re)?forge",
    "Stable Diffusion": r"stable ?diffusion|stability ?ai|dreamstudio",
    "FLUX": r"black forest labs|\bflux\.[12]",
    "Ideogram": r"ideogram",
    "Leonardo.Ai": r"leonardo\.?ai",
    "Recraft": r"\brecraft\b",
    "Krea": r"\bkrea\b",
    "Seedream": r"seedream|jimeng|dreamina|doubao",
    "Qwen-Image": r"qwen-?image|tongyi wanxiang",
    "Kling": r"\bkling ?ai\b|kolors",
}
_NAME = re.compile(
    "|".join(f"(?P<n{index}>{pattern})" for index, pattern in enumerate(_NAMES.values())),
    re.IGNORECASE,
)
# Without these words a credit may name the owner, also of a photograph
_MADE = re.compile(
    r"\b(?:made|created|generated|imagined|edited|enhanced) (?:with|by|using|in)\b", re.I
)
_EDITED = re.compile(r"\b(?:edited|enhanced) (?:with|by|using|in)\b", re.I)

# Fields for the name of a program, and fields for a credit, in lower case
PROGRAM_FIELDS = frozenset({"software", "creatortool", "program", "aisystemused"})
CREDIT_FIELDS = frozenset({"credit", "source", "instructions"})

_PARAMETERS = frozenset({"parameters", "usercomment", "comment", "imagedescription"})
_GRAPHS = frozenset({"prompt", "workflow", "make", "model", "usercomment", "imagedescription"})
_DESCRIPTIONS = frozenset({"description", "imagedescription", "comment", "usercomment"})
_SETTINGS = re.compile(r"\bSteps: \d{1,5}, [^\n]{0,200}?(?:Sampler|CFG scale|Seed): ")
_JOB = re.compile(r"\bJob ID: [0-9a-f]{8}-[0-9a-f-]{27}\b")
_INVOKEAI = frozenset({"invokeai_metadata", "sd-metadata", "dream"})


@dataclass(frozen=True, slots=True)
class Mark:
    """The mark of a generator's texts: possible keys in lower case, parts and a pattern.

    Patterns must take linear time, since texts may be hostile.
    """

    generator: str
    keys: frozenset[str]
    parts: tuple[str, ...] = ()
    pattern: re.Pattern[str] = re.compile("")

    def is_in(self, text: Text) -> bool:
        return (
            text.key.lower() in self.keys
            and all(part in text.value for part in self.parts)
            and self.pattern.search(text.value) is not None
        )


# The first mark that is in a text counts
MARKS = (
    Mark("Midjourney", _DESCRIPTIONS, pattern=_JOB),
    Mark("SwarmUI", _PARAMETERS, parts=('"sui_image_params"',)),
    Mark("Fooocus", _PARAMETERS, parts=('"base_model"', '"sharpness"', '"prompt"')),
    Mark("InvokeAI", _INVOKEAI),
    Mark("Draw Things", _PARAMETERS, parts=('"c"', '"uc"', '"sampler"', '"v2"')),
    Mark("AUTOMATIC1111", _PARAMETERS, pattern=_SETTINGS),
    Mark("ComfyUI", _GRAPHS, parts=('"class_type"', '"inputs"')),
    Mark("ComfyUI", _GRAPHS, parts=('"last_node_id"', '"nodes"')),
    Mark("ComfyUI", frozenset({"workflow"}), parts=('"nodes"', '"type"')),
    Mark("Grok", _DESCRIPTIONS, pattern=re.compile(r"\ASignature: [A-Za-z0-9+/=]{40,}\Z")),
)


def generator_named_in(value: str) -> str:
    """Return the generator that a program, a credit or an agent names; empty if none."""
    match = _NAME.search(value[:500])
    return [*_NAMES][int(match.lastgroup[1:])] if match else ""


def says_made(credit: str) -> bool:
    """Return whether a credit says how the picture was made, and does not only name an owner."""
    return _MADE.search(credit[:500]) is not None


def says_edited(credit: str) -> bool:
    return _EDITED.search(credit[:500]) is not None


def marked_texts(texts: list[Text]) -> Iterator[tuple[str, Text]]:
    """Yield generators with the texts that have their marks."""
    for text in texts:
        mark = next((mark for mark in MARKS if mark.is_in(text)), None)
        if mark:
            yield mark.generator, text
