"""The OpenAPI document: complete, and true of the running service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command

from tests.support.installation import Installation

SUPPORT = Path(__file__).parents[1] / "support"
EXAMPLES = 40  # of each operation and phase

pytestmark = pytest.mark.stateless


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("schema") / "schema.yml"
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(path))
    return yaml.safe_load(path.read_text())


def descriptions(part: object) -> Iterator[str]:
    """Yield the descriptions in a part of the document."""
    values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    if isinstance(part, dict) and isinstance(part.get("description"), str):
        yield part["description"]
    for each in values:
        yield from descriptions(each)


def operations(document: dict) -> list[dict]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_each_view_has_only_its_canonical_path(document):
    assert set(document["paths"]) == {
        "/api/predict/",
        "/api/batches/",
        "/api/batches/{batch_id}/",
        "/api/batches/{batch_id}/images/",
        "/api/predictions/",
        "/api/predictions/{id}/",
        "/api/predictions/{id}/heatmap/",
        "/api/predictions/{id}/similar/",
        "/api/predictions/{id}/provenance/",
        "/api/statistics/",
        "/health/",
        "/health/live/",
    }


def test_uploads_are_files(document):
    schemas = document["components"]["schemas"]

    assert schemas["PredictForm"]["properties"]["image"]["format"] == "binary"
    assert schemas["BatchForm"]["properties"]["images"]["items"]["format"] == "binary"


def test_every_field_and_parameter_is_described(document):
    fields = [
        (name, field, shape)
        for name, schema in document["components"]["schemas"].items()
        for field, shape in schema.get("properties", {}).items()
    ]
    parameters = [
        (operation["operationId"], parameter["name"], parameter)
        for operation in operations(document)
        for parameter in operation.get("parameters", [])
    ]

    assert [each[:2] for each in fields + parameters if not each[2].get("description")] == []


def test_descriptions_are_for_clients(document):
    texts = [*descriptions(document)]

    assert len(texts) > 100
    assert [text for text in texts if re.search(r"``|context|\b[Bb]ase of\b", text)] == []


def test_every_answer_has_a_meaning_and_an_example(document):
    for operation in operations(document):
        for status, answer in operation["responses"].items():
            assert answer["description"], (operation["operationId"], status)
            for kind, content in answer.get("content", {}).items():
                is_shown = "examples" in content or kind == "image/jpeg"
                assert is_shown, (operation["operationId"], status)


def test_every_error_has_the_same_shape(document):
    for operation in operations(document):
        for status, answer in operation["responses"].items():
            if status >= "400" and operation["operationId"] != "health":
                [content] = answer["content"].values()
                assert content["schema"] == {"$ref": "#/components/schemas/Error"}


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path, tiny_checkpoint):
    installation = Installation(tmp_path / "data", tiny_checkpoint, API_ACCESS="token")
    installation.make_database("tester")
    _, token, _ = installation.run("create_token", "tester")
    with installation.served() as service:
        finished = subprocess.run(
            [
                Path(sys.executable).parent / "schemathesis",
                f"--config-file={SUPPORT / 'schemathesis.toml'}",
                "run",
                f"{service.url}/api/schema/",
                f"--header=Authorization: Bearer {token.strip()}",
                "--checks=all",
                f"--max-examples={EXAMPLES}",
                "--generation-deterministic",
                "--continue-on-failure",
                "--no-color",
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ
            | {
                "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
                "PYTHONPATH": str(SUPPORT.parents[1]),
            },
            check=False,
        )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    [cases] = re.findall(r"(\d+) generated", finished.stdout)
    assert int(cases) > 500
    print(f"Schemathesis: {cases} cases")
