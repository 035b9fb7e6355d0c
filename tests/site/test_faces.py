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
SERVER = ROOT / "gunicorn.conf.py"
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
        elif isinstance(node, ast.ImportFrom):
            module = ".".join([*folders_up(path, node.level), *filter(None, [node.module])])
            yield from ((module, alias.name) for alias in node.names)


def folders_up(path: Path, level: int) -> tuple[str, ...]:
    """The package from which a relative import starts; empty for an absolute one."""
    folders = path.relative_to(ROOT).parts[:-1]
    return folders[: len(folders) - level + 1] if level else ()


def face_of(module: str) -> str:
    """The folder of a module. The engine's folders have faces of their own."""
    names = module.split(".")
    inner = ".".join(names[:3])
    if names[:2] == ["detection", "d3"] and is_folder(inner):
        return inner
    return ".".join(names[:2])


def is_folder(module: str) -> bool:
    return (ROOT / module.replace(".", "/")).is_dir()


@cache
def names_of(face: str) -> set[str]:
    path = ROOT / face.replace(".", "/") / "__init__.py"
    return {name for _, name in imports(path)} | MODULES.get(face, set())


def test_other_folders_import_only_what_a_face_exports():
    """The modules beside the engine's folders may be imported too."""
    wrong = []
    for path in [*ROOT.glob("detection/**/*.py"), *ROOT.glob("d3site/**/*.py"), SERVER]:
        own = face_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for module, name in imports(path):
            face = face_of(module)
            if face in (own, "detection.d3", "d3site.settings") or not is_folder(face):
                continue
            names = names_of(face)
            if names and (module != face or name not in {"", *names}):
                wrong.append(f"{path.relative_to(ROOT)}: {module} {name}")
    assert wrong == []
