from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.stateless

SHOW = """
import json
from django.conf import settings
names = [
    "DEBUG", "SECRET_KEY", "MODEL_CHECKPOINT_PATH", "FALLBACK_CHECKPOINT", "CLIP_CACHE",
    "SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD",
]
print(json.dumps({name: str(getattr(settings, name)) for name in names}))
"""


def settings_of_a_new_process(data_dir: Path, **environment: str) -> dict[str, str]:
    finished = subprocess.run(
        [sys.executable, "-c", SHOW],
        env={"DJANGO_SETTINGS_MODULE": "d3site.settings", "DATA_DIR": str(data_dir), **environment},
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(finished.stdout)


def test_without_configuration_a_secret_key_is_created_and_stored(tmp_path):
    first, second = (settings_of_a_new_process(tmp_path) for _ in range(2))

    assert first == second
    assert first["DEBUG"] == "True"
    assert first["SECRET_KEY"] == (tmp_path / "secret_key").read_text()
    assert first["MODEL_CHECKPOINT_PATH"].endswith("checkpoints/d3-clip-b-16.safetensors")
    assert first["FALLBACK_CHECKPOINT"].endswith("checkpoints/d3-tiny.safetensors")
    assert first["CLIP_CACHE"] == str(tmp_path / "clip")


def test_a_secret_key_makes_it_a_production_installation(tmp_path):
    given = settings_of_a_new_process(tmp_path, SECRET_KEY="given by the operator")

    assert given["DEBUG"] == "False"
    assert given["SECRET_KEY"] == "given by the operator"
    assert not (tmp_path / "secret_key").exists()


def test_the_whole_domain_is_bound_to_https_only_where_it_is_asked_for(tmp_path):
    names = ("SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD")
    plain = settings_of_a_new_process(tmp_path, SECRET_KEY="given")
    asked = settings_of_a_new_process(tmp_path, SECRET_KEY="given", **dict.fromkeys(names, "true"))

    assert [plain[name] for name in names] == ["False", "False"]
    assert [asked[name] for name in names] == ["True", "True"]


def test_production_does_not_start_without_a_secret_key(tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        settings_of_a_new_process(tmp_path, DEBUG="false")

    assert "SECRET_KEY" in failed.value.stderr


def test_a_relative_path_starts_at_the_project(tmp_path):
    given = settings_of_a_new_process(tmp_path, MODEL_CHECKPOINT_PATH="weights/own.safetensors")

    assert given["MODEL_CHECKPOINT_PATH"] == str(settings.BASE_DIR / "weights/own.safetensors")
    assert given["FALLBACK_CHECKPOINT"] == "None"
