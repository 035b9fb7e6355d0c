"""A folder's ``__init__`` is its public face: code outside of the folder imports from nothing else.

import-linter cannot say this: it takes a function for the module of the same name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Modules that belong to a face as modules: their functions are plain only with the module's name.
MODULES = {
    "detection.queue": {"batches", "broker", "leases", "local_worker"},
    "detection.records": {"name_search", "paging", "tables", "totals"},
    "detection.review": {"decisions"},
    "detection.upkeep": {"recounting"},
}

pytestmark = pytest.mark.stateless


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each module that a file imports from, and the imported name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def face_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


@cache
def names_of(face: str) -> set[str]:
    path = ROOT / face.replace(".", "/") / "__init__.py"
    return {name for _, name in imports(path)} | MODULES.get(face, set())


def test_other_folders_import_only_what_a_face_exports():
    """Leave out the engine: contracts of import-linter say which folders may import from it."""
    wrong = []
    for path in sorted(ROOT.glob("detection/**/*.py")):
        own = face_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for module, name in imports(path):
            face = face_of(module)
            if face in (own, "detection.d3") or not (ROOT / face.replace(".", "/")).is_dir():
                continue
            names = names_of(face)
            if names and (module != face or name not in {"", *names}):
                wrong.append(f"{path.relative_to(ROOT)}: {module} {name}")
    assert wrong == []
