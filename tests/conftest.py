from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    """An untrained network, at the place where the process's detector looks for its checkpoint."""
    import torch

    from detection.d3.checkpoints import Checkpoint, save
    from detection.d3.network import Architecture, D3Network, ResidualTowerConfig
    from detection.d3.preprocessing import Preprocessing

    tower = ResidualTowerConfig(width=8, residuals=4, spatial=(4, 8), spectra=2, spectral=(4, 8))
    architecture = Architecture(tower=tower, image_size=64, shuffle_patch=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = D3Network(architecture)
    checkpoint = Checkpoint(
        name="d3-test",
        architecture=architecture,
        preprocessing=Preprocessing(kind="crops", size=64),
        weights=network.state_dict(),
    )
    save(checkpoint, django_settings.MODEL_CHECKPOINT_PATH)
    return Path(django_settings.MODEL_CHECKPOINT_PATH)


@pytest.fixture(autouse=True)
def storage_folder(settings, tmp_path) -> Path:
    """Each test stores its files in a folder of its own."""
    folder = tmp_path / "files"
    default = {**settings.STORAGES["default"], "OPTIONS": {"location": folder}}
    settings.STORAGES = {**settings.STORAGES, "default": default}
    return folder


@pytest.fixture
def stored_files(storage_folder):
    """Asks for the names of all files that are stored now."""

    def names() -> list[str]:
        files = (path for path in storage_folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(storage_folder)) for path in files)

    return names


@pytest.fixture
def lost_database(transactional_db):
    """A database that fails at each query about predictions, until the test is over."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE predictions RENAME TO lost_predictions")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE lost_predictions RENAME TO predictions")


@pytest.fixture
def lost_storage(storage_folder) -> Path:
    """A storage folder that cannot be written to, even by root: it is a file."""
    storage_folder.write_text("not a folder")
    return storage_folder
