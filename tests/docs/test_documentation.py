"""The README and ``.env.example`` say what the code does; neither may drift from the other."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands
from django.urls import resolve

from detection.d3.errors import ImageError
from detection.errors import ServiceError
from detection.web import errors

pytestmark = pytest.mark.stateless

ROOT = Path(settings.BASE_DIR)
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
DOCUMENTS = {name: (ROOT / name).read_text() for name in ("README.md", "deploy/README.md")}

OPERATORS = {ast.Mult: operator.mul, ast.Pow: operator.pow}
A_RECORD = "01M8BRXHYCPW1Z830MC721KX09"


class NotLiteral(Exception):  # noqa: N818  it is no error
    """A default that depends on something else."""


def literal(node: ast.expr) -> object:
    """The value of a constant, a list of them, or a product like 25 * 2**20."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](literal(node.left), literal(node.right))
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise NotLiteral from error


def shown(value: object) -> str:
    """A default as the documents write it."""
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def name_and_default(call: ast.Call) -> tuple[str, ast.expr | None] | None:
    """Of ``env.str("NAME", default)`` and ``env_path("NAME", default)``; None for other calls."""
    function = call.func
    reads = (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "env"
        and function.attr != "read_env"
    ) or (isinstance(function, ast.Name) and function.id == "env_path")
    if not reads or not isinstance(call.args[0], ast.Constant):
        return None
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    default = call.args[1] if len(call.args) > 1 else keywords.get("default")
    return call.args[0].value, default


def variables_read() -> dict[str, str | None]:
    """Variables that the code reads, with their defaults; None where these are no literals."""
    found: dict[str, str | None] = {}
    for file in (*(ROOT / "d3site/settings").glob("*.py"), ROOT / "gunicorn.conf.py"):
        tree = ast.parse(file.read_text())
        # env.str("NAME", "") or "default"
        fallbacks = {
            id(node.values[0]): node.values[1]
            for node in ast.walk(tree)
            if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or)
        }
        for node in ast.walk(tree):
            read = name_and_default(node) if isinstance(node, ast.Call) else None
            if read is None:
                continue
            name, default = read
            try:
                value = literal(fallbacks.get(id(node), default))
                found[name] = "" if value is None else shown(value)
            except NotLiteral:
                found[name] = None
    return found


READ = variables_read()


def section(title: str) -> str:
    """A part of the README, from its heading to the next one of the same level."""
    level = title.split(" ")[0]
    start = README.index(f"\n{title}\n") + len(title) + 1
    end = README.find(f"\n{level} ", start)
    return README[start : end if end > 0 else None]


def table_rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def documented_defaults() -> dict[str, str]:
    rows = list(table_rows(section("## Configuration")))[1:]
    assert all(re.fullmatch(r"`[A-Z_]+`", name) for name, _, _ in rows)
    names = [name.strip("`") for name, _, _ in rows]
    assert len(names) == len(set(names))
    return {name.strip("`"): default.strip("`") for name, default, _ in rows}


def api_paths() -> list[str]:
    """Every path in a table row that begins with one, its placeholders filled in."""
    rows = [row for row in table_rows(README) if re.match(r"`(?:[A-Z]+ )?/", row[0])]
    cells = [cell for row in rows for cell in row]
    paths = re.findall(r"`(?:[A-Z]+ )?(/[^\s`?]*)(?:\?[^`]*)?`", " ".join(cells))
    return sorted({re.sub(r"\{\w+\}", A_RECORD, path) for path in paths})


def commands_named() -> list[str]:
    texts = " ".join(DOCUMENTS.values())
    return sorted(set(re.findall(r"manage\.py ([a-z]\w+)", texts)))


def codes_of_errors() -> set[str]:
    """Every code that is written down in the code, apart from REST framework's own."""
    classes = {*subclasses(ServiceError), *subclasses(ImageError)}
    return {code for _, _, code in errors.OTHER_ERRORS.values()} | {each.code for each in classes}


def subclasses(base: type) -> Iterator[type]:
    """The class and all below it."""
    yield base
    for each in base.__subclasses__():
        yield from subclasses(each)


def test_the_code_reads_variables():
    assert {"SECRET_KEY", "PORT", "MONGODB_URI", "CACHE_URL", "DATA_DIR"} <= READ.keys()
    assert READ["MAX_UPLOAD_BYTES"] == "26214400"
    assert READ["SECURE_SSL_REDIRECT"] is None


def test_the_table_of_the_readme_lists_what_the_code_reads():
    assert sorted(documented_defaults()) == sorted(READ)


def test_the_example_lists_what_the_code_reads():
    listed = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", EXAMPLE, re.MULTILINE)

    assert sorted(set(listed)) == sorted(READ)


def test_the_table_has_the_defaults_of_the_code():
    literals = {name: default for name, default in READ.items() if default is not None}
    documented = documented_defaults()
    # Empty in the code, and then made
    del literals["SECRET_KEY"]

    assert {name: documented[name] for name in literals} == literals


def test_what_the_example_sets_is_the_default():
    set_there = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE, re.MULTILINE))

    assert set_there
    assert {name: READ[name] for name in set_there} == set_there


@pytest.mark.parametrize("command", commands_named())
def test_a_command_that_is_named_exists(command):
    assert command in get_commands()


@pytest.mark.parametrize("path", api_paths())
def test_a_path_that_is_named_is_answered(path):
    assert resolve(path)


def test_the_paths_of_clients_and_operators_are_named():
    assert {"/predict", "/api/predict/", "/api/statistics/", "/metrics"} <= set(api_paths())


def test_every_code_of_an_error_is_in_the_table():
    table = " ".join(cell for row in table_rows(section("### Errors")) for cell in row)

    assert codes_of_errors() <= set(re.findall(r"`(\w+)`", table))
