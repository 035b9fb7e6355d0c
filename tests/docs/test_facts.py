"""The documents and ``.env.example`` say what the code does: variables, commands, paths, errors."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import operator
import re
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from django.core.management import get_commands, load_command_class
from django.urls import resolve
from prometheus_client import generate_latest
from rest_framework.exceptions import APIException

from detection.api import schema
from detection.d3.errors import ImageError
from detection.errors import ServiceError
from detection.web import errors
from tests.support.documents import DOCUMENTS, ROOT, code_blocks, inline_code, section, table_rows

pytestmark = pytest.mark.stateless

EXAMPLE = (ROOT / ".env.example").read_text()
API = DOCUMENTS["docs/api.md"]
GUIDE = {name: text for name, text in DOCUMENTS.items() if name.startswith(("README", "docs/"))}

# Variables of make, of the tests, of other programs and of the earlier Flask service
OTHER_VARIABLES = {
    "ATEN_CPU_CAPABILITY",
    "AWS_DEFAULT_REGION",
    "CUDA_VISIBLE_DEVICES",
    "FLASK_HOST",
    "LOCK_OPTIONS",
    "ONEDNN_MAX_CPU_ISA",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "TEST_PAIR",
}

OPERATORS = {ast.Mult: operator.mul, ast.Pow: operator.pow}
A_RECORD = "01M8BRXHYCPW1Z830MC721KX09"


class NotLiteral(Exception):  # noqa: N818  not an error
    """Raised for a default that depends on something else."""


def literal(node: ast.expr) -> object:
    """Return the value of a constant, a list of constants, or a product like 25 * 2**20."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](literal(node.left), literal(node.right))
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise NotLiteral from error


def shown(value: object) -> str:
    """Return a default as the documents write it."""
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
    """Return the variables that the code reads, with their defaults; None where not literal."""
    found: dict[str, str | None] = {}
    for file in (*sorted((ROOT / "d3site").rglob("*.py")), ROOT / "gunicorn.conf.py"):
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


def documented_defaults() -> dict[str, str]:
    rows = list(table_rows(DOCUMENTS["docs/configuration.md"]))[1:]
    assert all(re.fullmatch(r"`[A-Z0-9_]+`", name) for name, _, _ in rows)
    names = [name.strip("`") for name, _, _ in rows]
    assert len(names) == len(set(names))
    return {name.strip("`"): default.strip("`") for name, default, _ in rows}


def paths_of_the_service() -> list[str]:
    """Return the paths that the guide names in code and addresses, their placeholders filled in."""
    found = set()
    for text in GUIDE.values():
        for code in inline_code(text):
            found |= set(re.findall(r"^(?:[A-Z]+ )?(/[^\s?]*)(?:\?\S*)?$", code))
        for block in code_blocks(text):
            found |= set(re.findall(r"https?://[\w.]+(?::8000)?(/[^\s?'\"…]*)", block))
    return sorted({re.sub(r"\{\w+\}", A_RECORD, path) for path in found})


def commands_named() -> dict[str, set[str]]:
    """Return the options that the documents give to each command of ``manage.py``."""
    found: dict[str, set[str]] = {}
    for text in DOCUMENTS.values():
        lines = "\n".join(code_blocks(text)).replace("\\\n", " ").splitlines()
        for line in (*lines, *inline_code(text)):
            named = re.search(r"manage\.py ([a-z]\w+)(.*)", line)
            if named:
                options = re.findall(r"--[a-z][a-z-]*", named[2].partition(" > ")[0])
                found.setdefault(named[1], set()).update(options)
    return found


COMMANDS = commands_named()


def subclasses(base: type) -> Iterator[type]:
    """Yield the class and all its subclasses."""
    yield base
    for each in base.__subclasses__():
        yield from subclasses(each)


def codes_of_errors() -> set[str]:
    """Return every error code in the source code, apart from REST framework's own."""
    classes = {*subclasses(ServiceError), *subclasses(ImageError)}
    tables = {code for _, _, code in errors.OTHER_ERRORS.values()} | {*errors.CODES.values()}
    return tables | {each.code for each in classes}


def documented_codes() -> set[str]:
    cells = [row[1] for row in table_rows(section(API, "## Errors"))]
    return set(re.findall(r"`([a-z_]+)`", " ".join(cells)))


def test_the_code_reads_variables():
    assert {"SECRET_KEY", "PORT", "MONGODB_URI", "CACHE_URL", "DATA_DIR"} <= READ.keys()
    assert READ["MAX_UPLOAD_BYTES"] == "26214400"
    assert READ["SECURE_SSL_REDIRECT"] is None


def test_the_table_lists_what_the_code_reads():
    assert sorted(documented_defaults()) == sorted(READ)


def test_a_variable_that_is_named_anywhere_is_read():
    texts = [code for text in GUIDE.values() for code in (*inline_code(text), *code_blocks(text))]
    named = {*re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", " ".join(texts))}

    assert "MAX_QUEUED_IMAGES" in named
    assert named - OTHER_VARIABLES <= {*READ}


def test_the_example_lists_what_the_code_reads():
    listed = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", EXAMPLE, re.MULTILINE)

    assert sorted(set(listed)) == sorted(READ)


def test_the_table_has_the_defaults_of_the_code():
    literals = {name: default for name, default in READ.items() if default is not None}
    documented = documented_defaults()
    # Empty in the code, which then creates it
    del literals["SECRET_KEY"]

    assert {name: documented[name] for name in literals} == literals


def test_the_example_sets_defaults():
    set_there = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE, re.MULTILINE))

    assert set_there
    assert {name: READ[name] for name in set_there} == set_there


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_that_is_named_exists_with_its_options(command):
    applications = get_commands()
    assert command in applications
    parser = load_command_class(applications[command], command).create_parser("manage.py", command)

    assert COMMANDS[command] <= {*re.findall(r"--[a-z][a-z-]*", parser.format_help())}


def test_every_command_has_a_row():
    ours = {name for name, application in get_commands().items() if application == "detection"}
    rows = " ".join(row[0] for row in table_rows(DOCUMENTS["docs/commands.md"]))

    assert set(re.findall(r"manage\.py (\w+)", rows)) == ours


@pytest.mark.parametrize("path", paths_of_the_service())
def test_a_path_that_is_named_is_answered(path):
    assert resolve(path)


def test_the_paths_of_clients_and_operators_are_named():
    expected = {"/predict", "/api/predict/", "/api/statistics/", "/metrics", "/admin/review/"}

    assert expected <= set(paths_of_the_service())


def test_every_code_of_an_error_is_in_the_table():
    codes = codes_of_errors()

    assert {"truncated_image", "queue_full", "invalid_archive", "missing_image"} <= codes
    assert codes <= documented_codes()


def test_every_code_in_the_table_exists():
    sources = " ".join(file.read_text() for file in (ROOT / "detection").rglob("*.py"))
    by_status = {status.name.lower() for status in HTTPStatus}
    by_framework = {each.default_code for each in APIException.__subclasses__()}
    written = set(re.findall(r'"(\w+)"', sources))

    assert documented_codes() <= written | by_framework | by_status


def test_every_code_is_beside_its_status():
    statuses = {
        code: row[0]
        for row in table_rows(section(API, "## Errors"))
        for code in re.findall(r"`([a-z_]+)`", row[1])
    }
    for each in subclasses(ServiceError):
        nearest = next(base for base in each.__mro__ if base in errors.STATUSES)
        assert str(errors.STATUSES[nearest]) in statuses[each.code].split(", "), each.code


def test_the_metrics_are_those_of_the_code():
    made = {*re.findall(r"^# TYPE (d3_\w+)", generate_latest().decode(), re.MULTILINE)}
    named = {row[0].strip("`") for row in table_rows(DOCUMENTS["docs/operations.md"])}

    assert "d3_predictions_total" in made
    assert {name for name in made if not name.endswith("_created")} == {
        name for name in named if name.startswith("d3_")
    }


def test_the_example_of_an_answer_has_the_fields_of_the_api():
    example = json.loads(code_blocks(API, "json")[0])

    assert example.keys() == schema.PREDICTION.keys()
    assert example["prediction"].keys() == schema.PREDICTION["prediction"].keys()
    assert example["image_info"].keys() == schema.PREDICTION["image_info"].keys()


def test_the_example_of_the_engine_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    [example] = code_blocks(DOCUMENTS["docs/engine.md"], "python")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(example, {})

    assert [line.split()[0] for line in printed.getvalue().splitlines()] == ["REAL", "FAKE"]
