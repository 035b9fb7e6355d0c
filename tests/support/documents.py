"""The documents of the project: their texts, code, tables, links and anchors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

ROOT = Path(settings.BASE_DIR)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def documents() -> dict[str, str]:
    """Return the text of each document by its path in the project."""
    folders = ("docs", "deploy", "checkpoints", "samples")
    paths = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")]
    paths += [path for folder in folders for path in sorted((ROOT / folder).rglob("*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


DOCUMENTS = documents()


def code_blocks(text: str, language: str | None = None) -> list[str]:
    """Return the blocks between fences, all or those of one language."""
    return [code for name, code in FENCE.findall(text) if language in (None, name)]


def without_blocks(text: str) -> str:
    return FENCE.sub("", text)


def inline_code(text: str) -> list[str]:
    return [code.replace("\n", " ") for code in INLINE.findall(without_blocks(text))]


def links(text: str) -> list[str]:
    """Return the targets of all links and pictures."""
    return LINK.findall(INLINE.sub("code", without_blocks(text)))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(without_blocks(text)):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def section(text: str, heading: str) -> str:
    """Return a part of a page, from its heading to the next one of the same level."""
    level = heading.split(" ")[0]
    start = text.index(f"\n{heading}\n") + len(heading) + 1
    end = text.find(f"\n{level} ", start)
    return text[start : end if end > 0 else None]


def table_rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
