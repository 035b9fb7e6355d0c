"""The documents: a short README, links with targets, and names of things that exist."""

from __future__ import annotations

import importlib.util
import re

import pytest

from tests.support.documents import (
    DOCUMENTS,
    ROOT,
    anchors,
    code_blocks,
    inline_code,
    links,
    section,
)

pytestmark = pytest.mark.stateless

FOLDERS = "checkpoints|d3site|deploy|detection|docs|samples|templates|tests"
MEASUREMENTS = [name for name in DOCUMENTS if name.startswith("docs/measurements/")]


def leads_somewhere(page: str, link: str) -> bool:
    """Return whether a link's file and heading exist. Addresses of other sites are not checked."""
    if re.match(r"https?://", link):
        return True
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    return target.exists() and (not anchor or anchor in anchors(target.read_text()))


def words_of_code(text: str) -> set[str]:
    """Return the words of a page's code, without the names of options and form fields."""
    words = re.split(r"[\s\"'`()]+", " ".join([*inline_code(text), *code_blocks(text)]))
    return {re.sub(r"^[\w-]+=@?", "", word.rstrip(".,:")) for word in words}


def made_files() -> set[str]:
    """Return the files that the documented commands write."""
    texts = " ".join(DOCUMENTS.values())
    return set(re.findall(r"(?:--output|>) ([\w./-]+)", texts))


def named_files(text: str) -> set[str]:
    """Return the files that a page names: modules, and what is below a folder of the project."""
    pattern = re.compile(rf"(?:{FOLDERS})/[\w./@-]*|[\w/.-]+\.py")
    return {word for word in words_of_code(text) - made_files() if pattern.fullmatch(word)}


def is_file(page: str, name: str) -> bool:
    starts = (ROOT, ROOT / "detection", (ROOT / page).parent)
    return any((start / name).exists() for start in starts)


def named_modules() -> list[str]:
    texts = DOCUMENTS.values()
    blocks = " ".join(code for text in texts for code in code_blocks(text, "bash"))
    words = [word for text in texts for word in inline_code(text)]
    dotted = {word for word in words if re.fullmatch(r"(?:detection|tests|d3site)(?:\.\w+)+", word)}
    return sorted(dotted | set(re.findall(r"python -m ([\w.]+)", blocks)))


def named_targets() -> list[str]:
    code = " ".join(
        word for text in DOCUMENTS.values() for word in (*inline_code(text), *code_blocks(text))
    )
    return sorted(set(re.findall(r"\bmake ([a-z][a-z-]*)", code)))


def test_the_readme_is_short():
    assert len(DOCUMENTS["README.md"].splitlines()) <= 120


def test_the_readme_links_to_every_page():
    linked = {link.partition("#")[0] for link in links(DOCUMENTS["README.md"])}

    assert {name for name in DOCUMENTS if name != "README.md"} <= linked


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_lead_to_files_and_headings(page):
    assert [link for link in links(DOCUMENTS[page]) if not leads_somewhere(page, link)] == []


def test_links_that_lead_nowhere_are_found():
    assert leads_somewhere("docs/api.md", "#errors")
    assert not leads_somewhere("docs/api.md", "#mistakes")
    assert not leads_somewhere("docs/api.md", "docs/access.md")
    assert not leads_somewhere("docs/api.md", "access.md#errors")


@pytest.mark.parametrize("page", DOCUMENTS)
def test_files_that_are_named_exist(page):
    assert {name for name in named_files(DOCUMENTS[page]) if not is_file(page, name)} == set()


def test_files_are_named():
    assert "samples/generated-cat-z-image.jpg" in named_files(DOCUMENTS["README.md"])
    assert "judging/pipeline.py" in named_files(DOCUMENTS["docs/architecture.md"])
    assert "tests/d3" in named_files(DOCUMENTS["docs/development.md"])
    assert not is_file("README.md", "detection/scoring.py")


@pytest.mark.parametrize("module", named_modules())
def test_a_module_that_is_named_exists(module):
    assert importlib.util.find_spec(module)


@pytest.mark.parametrize("target", named_targets())
def test_a_target_of_make_that_is_named_exists(target):
    rules = re.findall(r"^([a-z][a-z -]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert target in " ".join(rules).split()


def test_the_architecture_names_every_folder():
    folders = {file.parent.name for file in (ROOT / "detection").glob("*/__init__.py")}
    named = set(re.findall(r"\w+", DOCUMENTS["docs/architecture.md"]))

    assert folders - {"migrations", "templatetags"} <= named


@pytest.mark.parametrize("page", MEASUREMENTS)
def test_each_measurement_names_its_machine_day_and_checkpoint(page):
    text = DOCUMENTS[page]
    titles = re.findall(r"^## .+$", text, re.MULTILINE)

    assert titles
    for title in titles:
        part = section(text, title).replace("\n", " ")
        assert re.search(r"Machine: .+Day: \d+ \w+", part), title
        assert re.search(r"Checkpoints?: |The model takes no part\.", part), title
        assert "| --- |" in part, title


def test_measurements_are_there():
    assert MEASUREMENTS
    assert all(re.search(r"/\d{4}-\d{2}\.md$", page) for page in MEASUREMENTS)
