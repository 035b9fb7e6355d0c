"""The files in ``deploy/`` protect what the service has."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from django.urls import reverse

from detection.web import error_response
from tests.support.documents import ROOT

pytestmark = pytest.mark.stateless

RETURNED = re.compile(r"return (\d+) '(\{.*\})';")
NGINX = (ROOT / "deploy" / "nginx.conf").read_text()
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
CONTAINERS = COMPOSE["services"]


@pytest.mark.parametrize("page", ["admin:login", "rest_framework:login", "sign-in"])
def test_nginx_limits_attempts_to_sign_in(page):
    locations = re.findall(r"location (/\S+) \{([^}]*)\}", NGINX)
    limited = tuple(path for path, rules in locations if "limit_req zone=d3_login" in rules)

    assert reverse(page).startswith(limited)


@pytest.mark.parametrize("status", [403, 413, 414, 431])
def test_nginx_refuses_in_the_words_of_the_service(status):
    bodies = {int(found): json.loads(body) for found, body in RETURNED.findall(NGINX)}
    own = json.loads(error_response(status).content)

    assert re.search(rf"error_page {status} |={status} ", NGINX)
    assert bodies[status] == own


def reaching(name: str) -> set[str]:
    """Return the containers that share a network with this one."""
    own = set(CONTAINERS[name]["networks"])
    return {other for other, made in CONTAINERS.items() if own & set(made["networks"])} - {name}


@pytest.mark.parametrize(
    ("name", "clients"),
    [
        ("mongodb", {"api", "worker", "upkeep"}),
        ("broker", {"api", "worker", "upkeep", "beat"}),
        ("cache", {"api"}),
    ],
)
def test_a_container_is_reached_by_those_that_need_it(name, clients):
    [network] = CONTAINERS[name]["networks"]

    assert reaching(name) == clients
    assert COMPOSE["networks"][network] == {"internal": True}


@pytest.mark.parametrize("name", ["worker", "upkeep", "beat"])
def test_other_containers_start_when_the_database_is_migrated(name):
    assert CONTAINERS[name]["depends_on"]["api"] == {"condition": "service_healthy"}


def test_foreign_container_images_are_named_by_digest():
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    named = {made["image"] for made in CONTAINERS.values()} - {"d3"}
    named |= set(re.findall(r"^FROM (.+)$", dockerfile, re.MULTILINE))

    assert len(named) == 4
    assert all(re.fullmatch(r"\S+:\S+@sha256:[0-9a-f]{64}", image) for image in named)


def test_broker_and_cache_have_passwords_of_their_own():
    commands = {name: CONTAINERS[name]["command"] for name in ("broker", "cache")}
    passwords = [command[command.index("--requirepass") + 1] for command in commands.values()]

    assert [re.match(r"\$\{(\w+):\?", each)[1] for each in passwords] == [
        "BROKER_PASSWORD",
        "CACHE_PASSWORD",
    ]
