from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.management import CommandError
from PIL import Image

from detection.d3.html import thumbnail
from detection.management import scan_report
from detection.management.scan_report import Row, Scan, check_output, open_report
from tests.support.commands import rows_of
from tests.support.factories import image_bytes
from tests.support.pages import Page

pytestmark = pytest.mark.stateless


def a_scan(path: Path, *, images: int = 1) -> Scan:
    return Scan(
        path=path,
        images=images,
        others=0,
        closed=[],
        model_name="d3-test",
        model_version="0123456789abcdef",
        threshold=0.5,
    )


def a_row(path: Path | str, *, score: float = 0.9) -> Row:
    return Row(
        path=str(path),
        label="FAKE" if score > 0.5 else "REAL",
        fake_score=score,
        confidence=max(score, 1 - score),
        uncertain=False,
        threshold=0.5,
        width=64,
        height=48,
        format="JPEG",
        sha256="0" * 64,
        id="01J00000000000000000000000",
    )


def write(output: Path, rows: Iterable[Row], *, folder: Path, images: int | None = None) -> None:
    scan = a_scan(folder, images=len(rows) if images is None else images)
    with open_report(output, scan) as report:
        for row in rows:
            scan.add(row)
            picture = Path(row.path)
            report.add(row, thumbnail(Image.open(picture)) if picture.exists() else None)


def page_of(folder: Path, rows: Iterable[Row], *, images: Path = Path()) -> Page:
    """Return the page that reports on these rows."""
    write(folder / "report.html", rows, folder=images)
    return Page((folder / "report.html").read_text())


def some_images(folder: Path, names: list[str]) -> list[Path]:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(image_bytes())
    return [folder / name for name in names]


@pytest.mark.parametrize("name", ["=1+1.jpg", "+1.jpg", "-1.jpg", "@SUM(1).jpg", "\t=1.jpg"])
def test_a_spreadsheet_does_not_run_the_name_of_a_file(tmp_path, name):
    write(tmp_path / "report.csv", [a_row(name)], folder=Path())

    [row] = rows_of(tmp_path / "report.csv")
    assert row["path"] == f"'{name}"


def test_scores_in_csv_and_json_are_exact(tmp_path):
    row = a_row(tmp_path / "a.jpg", score=0.1234567890123456)
    write(tmp_path / "report.csv", [row], folder=tmp_path)
    write(tmp_path / "report.json", [row], folder=tmp_path)

    [line] = rows_of(tmp_path / "report.csv")
    [image] = json.loads((tmp_path / "report.json").read_text())["images"]
    assert float(line["fake_score"]) == image["fake_score"] == row.fake_score
    assert (line["uncertain"], image["uncertain"]) == ("false", False)
    assert (line["error"], image["error"]) == ("", None)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".html"])
def test_a_file_name_that_is_not_text_does_not_break_the_report(tmp_path, suffix):
    output = tmp_path / f"report{suffix}"

    write(output, [a_row(tmp_path / "a\udcff.jpg")], folder=tmp_path)

    text = output.read_text(encoding="utf-8")
    name = json.loads(text)["images"][0]["path"] if suffix == ".json" else text
    assert r"a\udcff.jpg" in name


def test_a_csv_report_begins_with_a_byte_order_mark(tmp_path):
    write(tmp_path / "report.csv", [a_row("写真.jpg")], folder=Path())

    assert (tmp_path / "report.csv").read_bytes().startswith(b"\xef\xbb\xbfpath,label")


def test_a_json_report_of_no_images_is_json(tmp_path):
    write(tmp_path / "report.json", [], folder=tmp_path)

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["images"] == []
    assert report["complete"] is True


def test_the_page_shows_the_highest_score_first_with_a_picture_each(tmp_path):
    paths = some_images(tmp_path / "photos", ["low.jpg", "high.jpg", "middle.jpg"])
    rows = [a_row(path, score=score) for path, score in zip(paths, (0.1, 0.9, 0.6), strict=True)]

    page = page_of(tmp_path, rows, images=tmp_path / "photos")

    pictures = page.all("img")
    assert [each["alt"] for each in pictures] == [
        "Preview of high.jpg",
        "Preview of middle.jpg",
        "Preview of low.jpg",
    ]
    assert all(each["src"].startswith("data:image/jpeg;base64,") for each in pictures)
    assert page.text.index("fake score 90.0 %") < page.text.index("fake score 10.0 %")


def test_the_page_needs_no_other_file_and_says_its_language(tmp_path):
    [path] = some_images(tmp_path / "photos", ["a.jpg"])
    page = page_of(tmp_path, [a_row(path)], images=tmp_path / "photos")

    assert page.all("script") == page.all("link") == []
    assert page.all("html") == [{"lang": "en"}]


def test_names_of_files_cannot_inject_markup(tmp_path):
    folder = tmp_path / "<script>alert(1)<script>"
    [path] = some_images(folder, ['"><img src=x onerror=alert(1)>.jpg'])
    broken = Row(path=str(folder / "<svg onload=alert(1)>"), error="It is <b>bad</b>.", code="bad")

    page = page_of(tmp_path, [a_row(path), broken], images=folder)

    assert page.all("script") == page.all("svg") == page.all("b") == []
    assert len(page.all("img")) == 1
    assert "It is <b>bad</b>." in page.text


def test_a_page_of_too_many_images_shows_the_highest_scores_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(scan_report, "MAX_THUMBNAILS", 2)
    paths = some_images(tmp_path / "photos", ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    scores = (0.7, 0.2, 0.9, 0.7)
    rows = [a_row(path, score=score) for path, score in zip(paths, scores, strict=True)]

    page = page_of(tmp_path, rows, images=tmp_path / "photos")

    assert [each["alt"] for each in page.all("img")] == ["Preview of c.jpg", "Preview of a.jpg"]
    assert "2 more images with lower scores are not shown here" in page.text


def test_an_image_without_a_thumbnail_has_no_preview(tmp_path):
    page = page_of(tmp_path, [a_row("gone.jpg")])

    assert page.all("img") == []
    assert "no preview" in page.text


def test_judged_images_are_reported_when_the_scan_breaks_off(tmp_path):
    output = tmp_path / "report.json"

    def rows():
        yield a_row(tmp_path / "a.jpg")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(output, rows(), folder=tmp_path, images=5)

    written = json.loads(output.read_text())
    assert (len(written["images"]), written["complete"]) == (1, False)


def test_an_older_report_stays_when_nothing_was_judged(tmp_path):
    output = tmp_path / "report.csv"
    output.write_text("an older report")

    with pytest.raises(RuntimeError), open_report(output, a_scan(tmp_path)):
        raise RuntimeError

    assert output.read_text() == "an older report"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("name", ["report.pdf", "report", ".csv", "html"])
def test_a_report_of_another_kind_is_refused(tmp_path, name):
    with pytest.raises(CommandError, match=r"must end in \.csv, \.json or \.html"):
        check_output(tmp_path / name)


def test_a_report_in_a_missing_folder_is_refused(tmp_path):
    output = tmp_path / "missing" / "report.csv"

    with (
        pytest.raises(CommandError, match="cannot be written: no such file"),
        open_report(output, a_scan(tmp_path)),
    ):
        pass


def test_declared_origins_have_columns_and_a_filter(tmp_path):
    said = replace(
        a_row("said.jpg"),
        declares="generated",
        generator="Midjourney",
        file_says="This file says that it was made with Midjourney.",
    )
    rows = [said, a_row("plain.jpg")]
    page = page_of(tmp_path, rows)
    for name in ("report.csv", "report.json"):
        write(tmp_path / name, rows, folder=Path())

    first, second = rows_of(tmp_path / "report.csv")
    assert (first["declares"], first["generator"]) == ("generated", "Midjourney")
    assert (second["declares"], second["file_says"]) == ("", "")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["declared"] == {"generated": 1, "edited": 0, "captured": 0}
    assert said.file_says in page.text
    assert [field.get("id") for field in page.all("input")] == [None, "only-generated"]
    assert [item for item in page.all("li") if item.get("class") == "declares-generated"]


def test_without_declared_origins_there_is_no_filter(tmp_path):
    assert not page_of(tmp_path, [a_row("plain.jpg")]).all("input")
