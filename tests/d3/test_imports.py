"""Imports in the source, and at run time, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

pytestmark = pytest.mark.stateless

ROOT = Path(__file__).parents[2]


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_other_code_imports_the_face_of_a_folder_and_nothing_behind_it():
    graph = grimp.build_graph("detection", cache_dir=None)
    modules = graph.find_children("detection.d3")
    behind = [
        (importer, imported)
        for folder in modules
        for imported in graph.find_descendants(folder)
        for importer in graph.find_modules_that_directly_import(imported)
        if not f"{importer}.".startswith(f"{folder}.")
    ]
    assert "detection.d3.images" in modules
    assert behind == []


def test_the_engine_imports_nothing_of_django_or_of_other_folders():
    loaded = run(
        "import sys, pkgutil, importlib, detection.d3\n"
        "for module in pkgutil.walk_packages(detection.d3.__path__, 'detection.d3.'):\n"
        "    importlib.import_module(module.name)\n"
        "names = sorted(sys.modules)\n"
        "print([name for name in names if name.split('.')[0] in ('django', 'd3site')])\n"
        "print([n for n in names if n.startswith('detection.') and n[:12] != 'detection.d3'])"
    )
    assert loaded == "[]\n[]"


def test_headers_and_decoding_need_no_pytorch():
    loaded = run(
        "import sys, detection.d3, detection.d3.images, detection.d3.checkpoints\n"
        "import detection.d3.dataset, detection.d3.html, detection.d3.prefetching\n"
        "detection.d3.checkpoints.describe('checkpoints/d3-tiny.safetensors')\n"
        "print(sorted({'torch', 'django'} & set(sys.modules)))"
    )
    assert loaded == "[]"


def test_pictures_are_decoded_where_the_libraries_of_pillow_cannot_be_called():
    """Pillow may be built without some of the libraries, or hide their functions."""
    width = run(
        "from PIL import _webp, Image\n"
        "_webp.__file__ = Image.core.__file__ = 'absent'\n"
        "from detection.d3.images import decode_image\n"
        "print(decode_image('samples/photo-roman-colosseum.jpg').width)"
    )
    assert int(width) > 0
