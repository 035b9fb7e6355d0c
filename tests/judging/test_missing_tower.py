"""The service without the CLIP tower of the default checkpoint."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from safetensors.torch import save_file

from detection.api.views import health
from detection.checks import check_model_checkpoint
from detection.d3.checkpoints import TowerFile, load, save
from detection.d3.checkpoints.clip_layouts import read_clip_tower
from detection.d3.errors import TowerError
from detection.judging import active_detector
from detection.judging.active_detector import detector_notice, get_detector
from tests.support.pages import Page
from tests.support.published_layouts import CLIP, HEAD, read
from tests.support.waiting import eventually

NOTICE = (
    "The small detector tiny judges in place of default, whose CLIP tower is missing here; "
    "manage.py fetch_clip downloads it."
)


@pytest.fixture
def tower(tmp_path) -> Path:
    """The tower that the default checkpoint needs. It is not yet in the cache."""
    save_file(read_clip_tower(CLIP, read(CLIP)).weights, tmp_path / "tower")
    return tmp_path / "tower"


@pytest.fixture(autouse=True)
def default(settings, tmp_path, tiny_checkpoint, monkeypatch) -> Path:
    """A default checkpoint that needs a tower; the app as a new process has it."""
    path = tmp_path / "default.safetensors"
    tower_file = TowerFile("clip-vit-b-16", read_clip_tower(CLIP, read(CLIP)).sha256)
    save(replace(load(HEAD, clip_weights=CLIP), name="default", tower_file=tower_file), path)
    settings.MODEL_CHECKPOINT_PATH = path
    settings.FALLBACK_CHECKPOINT = tiny_checkpoint
    settings.ACTIVE_CHECKPOINT_FILE = tmp_path / "active_checkpoint"
    settings.CLIP_CACHE = tmp_path / "clip"
    settings.CLIP_CACHE.mkdir()
    monkeypatch.setattr(health, "_last_check", health._LastCheck())
    for attribute in ("_detector", "_state", "notice"):
        monkeypatch.setattr(active_detector._active, attribute, None)
    return path


def front_page(client) -> Page:
    return Page(client.get("/").content.decode())


def fetch(tower: Path) -> None:
    part = django_settings.CLIP_CACHE / "part"
    shutil.copy(tower, part)
    part.replace(django_settings.CLIP_CACHE / "clip-vit-b-16.safetensors")


def test_the_small_detector_judges_and_the_log_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        assert get_detector().info.name == "d3-test"
    assert detector_notice() == NOTICE
    assert "tiny judges for now." in caplog.text
    assert "manage.py fetch_clip" in caplog.text


def test_with_the_tower_there_is_no_notice(tower):
    fetch(tower)
    assert get_detector().info.name == "default"
    assert detector_notice() is None
    assert [*check_model_checkpoint()] == []


def test_a_running_process_loads_the_default_once_the_tower_is_there(tower):
    assert get_detector().info.name == "d3-test"
    fetch(tower)
    assert eventually(lambda: get_detector().info.name == "default")
    assert detector_notice() is None


def test_a_damaged_tower_counts_as_missing(tower):
    tower.write_bytes(tower.read_bytes()[:-8] + bytes(8))
    fetch(tower)
    assert get_detector().info.name == "d3-test"
    assert detector_notice() == NOTICE


def test_the_system_check_warns():
    [warning] = check_model_checkpoint()
    assert (warning.id, warning.msg) == ("detection.W002", NOTICE)


@pytest.mark.parametrize("chosen", ["configured", "activated"])
def test_a_chosen_checkpoint_has_no_substitute(settings, default, chosen):
    if chosen == "configured":
        settings.FALLBACK_CHECKPOINT = None
    else:
        settings.ACTIVE_CHECKPOINT_FILE.write_text(f"{default}\n")
    with pytest.raises(TowerError, match=r"manage\.py fetch_clip"):
        get_detector()
    [error] = check_model_checkpoint()
    assert error.id == "detection.E001"
    assert "manage.py fetch_clip" in error.msg


def test_configured_weights_replace_the_tower(settings):
    settings.CLIP_WEIGHTS = str(CLIP)
    assert [*check_model_checkpoint()] == []
    assert get_detector().info.name == "default"


@pytest.mark.django_db
def test_health_is_degraded_and_says_why(client):
    body = client.get("/health")
    assert body.status_code == 200
    assert body.json()["success"] is True
    assert body.json()["status"] == "degraded"
    assert body.json()["model"]["ok"] is True
    assert body.json()["model"]["notice"] == NOTICE


@pytest.mark.django_db
def test_the_front_page_shows_the_notice(client):
    page = front_page(client)
    [notice] = [tag for tag in page.all("p") if tag.get("class") == "notice"]
    assert notice["role"] == "note"
    assert NOTICE in page.text


@pytest.mark.django_db
def test_with_the_tower_health_and_front_page_have_no_notice(client, tower):
    fetch(tower)
    body = client.get("/health").json()
    assert body["status"] == "ok"
    assert "notice" not in body["model"]
    assert "manage.py fetch_clip" not in front_page(client).text
