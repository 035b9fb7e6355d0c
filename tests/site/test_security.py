"""SECURITY.md: each threat names its defence, and tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.documents import DOCUMENTS, ROOT, section, table_rows

pytestmark = pytest.mark.stateless

_, *THREATS = table_rows(section(DOCUMENTS["SECURITY.md"], "## Threats"))


def named_tests(threat: list[str]) -> list[str]:
    return re.findall(r"`([^`]+)`", threat[-1])


def is_test(name: str) -> bool:
    """Return whether a test like ``tests/site/test_security.py::test_a_threat`` exists."""
    path, _, function = name.partition("::")
    file = ROOT / path
    return file.is_file() and function in {
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("threat", THREATS, ids=[threat[2] for threat in THREATS])
def test_each_threat_has_a_defence_and_existing_tests(threat):
    _, _, _, stopped_by, _ = threat

    assert stopped_by
    assert named_tests(threat)
    assert [name for name in named_tests(threat) if not is_test(name)] == []


def test_a_missing_test_is_found():
    assert not is_test("tests/site/test_security.py::test_that_is_gone")
    assert not is_test("tests/site/test_gone.py::test_a_threat")
