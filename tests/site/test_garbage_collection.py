from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.stateless

PAUSES = """
import gc
import sys
from d3site.garbage_collection import shorten_pauses

loaded = [[] for _ in range(100_000)]
shorten_pauses()
print(len(gc.get_objects()), sys.getswitchinterval())
"""


def test_garbage_collections_skip_loaded_objects():
    finished = subprocess.run(
        [sys.executable, "-c", PAUSES], capture_output=True, text=True, check=True
    )
    collected, until_switch = finished.stdout.split()

    assert int(collected) < 1000
    assert float(until_switch) < 0.005  # Python's default
