"""The lock has each requirement, and installations accept only files with its hashes."""

from __future__ import annotations

import re

import pytest

from tests.support.documents import ROOT

pytestmark = pytest.mark.stateless

PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,]+\])?==([^\s;\\]+)", re.MULTILINE)
PAIRS = [("requirements.in", "requirements.txt"), ("requirements-dev.in", "requirements-dev.txt")]
LOCKS = [lock for _, lock in PAIRS]


def pinned(file: str) -> dict[str, set[str]]:
    """Return the versions of each package by its normalized name."""
    found: dict[str, set[str]] = {}
    for name, version in PINNED.findall((ROOT / file).read_text()):
        found.setdefault(re.sub(r"[._-]+", "-", name).lower(), set()).add(version)
    return found


@pytest.mark.parametrize(("source", "lock"), PAIRS)
def test_each_requirement_is_locked(source, lock):
    wanted, locked = pinned(source), pinned(lock)

    assert wanted
    assert {name: locked.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("lock", LOCKS)
def test_each_package_has_a_version_and_hashes(lock):
    text = re.sub(r"^ *#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    packages = re.split(r"\n(?=\S)", text.strip())

    assert len(packages) > 50
    for package in packages:
        assert PINNED.match(package), package
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", package), package


@pytest.mark.parametrize("file", [*LOCKS, "requirements-torch.txt"])
def test_no_package_index_is_named(file):
    assert "://" not in (ROOT / file).read_text()


def test_the_build_of_pytorch_is_left_to_the_machine():
    torch = pinned("requirements-torch.txt")
    metadata = (ROOT / "pyproject.toml").read_text()

    assert torch.keys() == {"torch"}
    assert not torch.keys() & pinned("requirements.txt").keys()
    assert f'name = "torch"\nversion = "{torch["torch"].pop()}"' in metadata


@pytest.mark.parametrize("file", ["Makefile", "deploy/Dockerfile"])
def test_every_installation_checks_the_hashes(file):
    text = (ROOT / file).read_text().replace("$(LOCKED)", "--require-hashes --no-deps")
    lines = re.findall(r"^.*install.* -r requirements(?:-dev)?\.txt", text, re.MULTILINE)
    lines += re.findall(r"^.*PIP_INSTALL.* -r requirements(?:-dev)?\.txt", text, re.MULTILINE)

    assert lines
    assert all("--require-hashes" in line for line in lines)
