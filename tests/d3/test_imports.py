"""Imports: those of the source, and those at run time, each in a process of its own."""

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


def test_the_tower_is_that_of_open_clip_whatever_torchvision_is_installed():
    difference = run(
        "import importlib, torch\n"
        "from detection.d3.clip import VisionTransformer\n"
        "from detection.d3.checkpoints.open_clip import import_open_clip\n"
        "import_open_clip()\n"
        "transformer = importlib.import_module('open_clip.transformer')\n"
        "theirs = transformer.VisionTransformer(image_size=28, patch_size=14, width=128, layers=2,"
        " heads=2, mlp_ratio=4.0, output_dim=128, act_layer=transformer.QuickGELU).eval()\n"
        "theirs.proj = None\n"
        "ours = VisionTransformer(image_size=28, patch_size=14, width=128, layers=2).eval()\n"
        "ours.load_state_dict(theirs.state_dict())\n"
        "views = torch.randn(2, 3, 28, 28)\n"
        "print((ours(views) - theirs(views)).abs().max().item())"
    )
    assert float(difference) < 1e-5


def test_a_detector_does_not_take_the_seconds_that_open_clip_takes():
    loaded = run(
        "import sys\n"
        "from detection.d3 import Detector\n"
        "print(sorted({'torchvision', 'open_clip'} & set(sys.modules)))"
    )
    assert loaded == "[]"


def test_open_clip_is_imported_although_torchvision_lacks_its_operators():
    """A stand-in for torchvision fails as the CUDA build does beside a CPU torch."""
    output = run(
        "import sys, importlib.abc, importlib.machinery, torch\n"
        "def fake(boxes, scores, threshold): return boxes\n"
        "class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):\n"
        "    tried = 0\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'open_clip':\n"
        "            return importlib.machinery.ModuleSpec(name, self)\n"
        "    def exec_module(self, module):\n"
        "        Finder.tried += 1\n"
        "        torch.library.register_fake('torchvision::nms')(fake)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from detection.d3.checkpoints.open_clip import import_open_clip\n"
        "print(import_open_clip().__name__, Finder.tried)"
    )
    assert output == "open_clip 2"


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


def test_headers_decoding_and_all_that_is_light_need_no_pytorch():
    loaded = run(
        "import sys, detection.d3, detection.d3.images, detection.d3.checkpoints\n"
        "import detection.d3.dataset, detection.d3.html, detection.d3.prefetching\n"
        "detection.d3.checkpoints.describe('checkpoints/d3-tiny.safetensors')\n"
        "heavy = {'torch', 'torchvision', 'open_clip', 'django'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert loaded == "[]"
