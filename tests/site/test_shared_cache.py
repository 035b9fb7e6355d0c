"""A cache that several processes share, and to which an attacker may write."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import requests
from redis import Redis
from redis.exceptions import AuthenticationError

from d3site.json_cache import JsonSerializer
from tests.support.installation import Installation
from tests.support.production import PRODUCTION, THROUGH_PROXY
from tests.support.servers import RedisServer

pytestmark = pytest.mark.stateless


class Planted:
    """An object that creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self._mark,)


@pytest.mark.parametrize("value", [0, -3, 1.5, True, None, "text", [1.5, 2.5], {"a": [1]}])
def test_values_return_as_they_were(value):
    serializer = JsonSerializer()
    stored = serializer.dumps(value)

    assert serializer.loads(stored if isinstance(stored, bytes) else str(stored).encode()) == value


def test_a_pickle_is_no_value(tmp_path):
    with pytest.raises(ValueError, match="decode"):
        JsonSerializer().loads(pickle.dumps(Planted(tmp_path / "mark")))

    assert not (tmp_path / "mark").exists()


@pytest.mark.own_servers
def test_code_in_the_cache_is_not_run(tmp_path, tiny_checkpoint):
    """Replace each value that the service stored by a pickle that creates a file."""
    mark = tmp_path / "mark"
    with RedisServer(tmp_path / "redis") as redis:
        with pytest.raises(AuthenticationError):
            Redis(port=redis.port).ping()
        stored = Redis.from_url(redis.url)
        environment = PRODUCTION | {"CACHE_URL": redis.url}
        installation = Installation(tmp_path / "data", tiny_checkpoint, **environment)
        installation.make_database()
        with installation.served() as service:
            sign_in(service)
            keys = stored.keys()
            for key in keys:
                stored.set(key, pickle.dumps(Planted(mark)))
            statuses = [sign_in(service) for _ in range(2)]

    assert keys
    assert statuses == [403, 403]  # a form without its CSRF token
    assert not mark.exists()


def sign_in(service) -> int:
    form = {"username": "ann", "password": "wrong"}
    url = f"{service.url}/sign-in/"
    return requests.post(url, form, headers=THROUGH_PROXY, timeout=60).status_code
