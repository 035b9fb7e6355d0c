from __future__ import annotations

import subprocess
import sys

import pytest

from detection.d3.errors import CheckpointError
from detection.judging.active_detector import ActiveDetector
from tests.support.threads import at_once

pytestmark = pytest.mark.stateless

SETUP_ONLY = """
import sys
import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)
call_command("check")
print("torch" in sys.modules)
"""


@pytest.fixture
def fresh_detector() -> ActiveDetector:
    """The detector of a new process, not loaded yet."""
    return ActiveDetector()


@pytest.mark.usefixtures("tiny_checkpoint")
def test_threads_that_start_together_share_one_detector(fresh_detector):
    detectors = at_once(lambda active: active.detector, [fresh_detector] * 4)

    assert len({id(detector) for detector in detectors}) == 1


def test_a_bad_checkpoint_is_an_error_each_time_until_it_is_good(
    fresh_detector, settings, tmp_path, tiny_checkpoint
):
    settings.MODEL_CHECKPOINT_PATH = tmp_path / "missing.safetensors"
    with pytest.raises(CheckpointError):
        _ = fresh_detector.detector

    settings.MODEL_CHECKPOINT_PATH = tiny_checkpoint
    assert fresh_detector.detector.info.name


def test_migrating_and_checking_load_no_model(settings, tmp_path, tiny_checkpoint):
    environment = {
        "DJANGO_SETTINGS_MODULE": "d3site.settings",
        "DATA_DIR": str(tmp_path),
        "MODEL_CHECKPOINT_PATH": str(tiny_checkpoint),
    }

    finished = subprocess.run(
        [sys.executable, "-c", SETUP_ONLY],
        env=environment,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )

    assert finished.stdout.splitlines()[-1] == "False"
    assert (tmp_path / "db.sqlite3").exists()
