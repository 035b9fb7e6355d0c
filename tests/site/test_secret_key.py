from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from d3site.secret_key import stored_secret_key

pytestmark = pytest.mark.stateless


def test_the_key_is_created_once_and_stored(tmp_path):
    path = tmp_path / "data" / "secret_key"

    key = stored_secret_key(path)

    assert len(key) >= 50
    assert stored_secret_key(path) == key


def test_only_its_owner_can_read_the_key(tmp_path):
    path = tmp_path / "secret_key"

    stored_secret_key(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_start_together_share_one_key(tmp_path):
    path = tmp_path / "secret_key"

    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(stored_secret_key, [path] * 32))

    assert len(keys) == 1
