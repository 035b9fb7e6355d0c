from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from detection.models import Prediction, PredictionBatch
from tests.support.commands import Failure, failure_of, printed_by, rows_of
from tests.support.factories import image_bytes, noise_image
from tests.support.image_files import animated
from tests.support.installation import Installation
from tests.support.pages import Page

COLUMNS = (
    "path label fake_score confidence uncertain reason threshold width height format damaged "
    "frames sha256 id error code declares generator file_says"
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three images and a text, and one more image below."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.jpg", "été 写真.jpg", "more/d.jpg")):
        (folder / name).write_bytes(image_bytes(seed=number))
    (folder / "ATTRIBUTION.md").write_text("# Where the images are from")
    return folder


@pytest.fixture
def broken_folder(folder) -> Path:
    (folder / "b.jpg").write_bytes(image_bytes()[:-300])
    (folder / "notes.png").write_text("just some words")
    return folder


def scan(path: Path, **options) -> str:
    return printed_by("scan_folder", path, **options)


def failed_scan(path: Path, **options) -> Failure:
    return failure_of("scan_folder", path, **options)


def figure(printed: str, name: str) -> str:
    """Return the figure ``name`` of the summary, which follows the lines of the images."""
    summary = printed.partition("\n\n")[2].splitlines()
    [line] = [line for line in summary if line.startswith(f"{name} ")]
    return line.removeprefix(name).strip()


def test_each_image_has_a_line_with_its_verdict_score_and_name(folder):
    printed = scan(folder)

    predictions = {each.original_filename: each for each in Prediction.objects.all()}
    assert sorted(predictions) == ["a.jpg", "b.jpg", "été 写真.jpg"]
    header, *lines = printed.splitlines()[:4]
    for line, name in zip(lines, ["a.jpg", "b.jpg", "été 写真.jpg"], strict=True):
        assert line.startswith(predictions[name].label)
        assert f"{100 * predictions[name].fake_score:.1f} %" in line
        assert line[header.index("File") :] == name


def test_an_uncertain_verdict_is_marked(folder):
    scan(folder / "a.jpg")
    score = Prediction.objects.get().fake_score

    assert "uncertain   a.jpg" in scan(folder / "a.jpg", threshold=score)
    assert "uncertain   a.jpg" not in scan(folder / "a.jpg")


def test_the_summary_counts_images_and_verdicts(broken_folder):
    *_, printed = failed_scan(broken_folder, recursive=True, threshold=0.0)

    names = ("Images", "FAKE", "REAL", "Unreadable", "Other files")
    assert [figure(printed, name) for name in names] == ["5", "3", "0", "2", "1"]
    assert float(figure(printed, "Images/s")) > 0


def test_a_scan_is_one_batch_with_its_predictions_and_files(folder, stored_files):
    scan(folder, recursive=True)

    batch = PredictionBatch.objects.get()
    assert (batch.source, batch.status, batch.total_images) == ("scan", "done", 4)
    assert (batch.successful, batch.failed) == (4, 0)
    assert batch.finished_at is not None
    predictions = list(batch.predictions.all())
    assert {each.source for each in predictions} == {"scan"}
    assert stored_files() == sorted(key for each in predictions for key in each.file_keys)
    assert len(predictions) == 4


def test_files_that_could_not_be_read_are_listed_and_the_exit_code_is_2(broken_folder):
    sentence, code, printed = failed_scan(broken_folder)

    assert (sentence, code) == ("2 of 4 images could not be read.", 2)
    assert "  b.jpg: This JPEG file ends too early: a part of the image is missing." in printed
    assert "  notes.png: This file is not an image of a type that can be read" in printed
    assert "ATTRIBUTION.md" not in printed
    batch = PredictionBatch.objects.get()
    assert (batch.status, batch.successful, batch.failed) == ("done", 2, 2)
    assert [error["filename"] for error in batch.errors] == ["b.jpg", "notes.png"]


def test_a_single_image_can_be_scanned(folder):
    printed = scan(folder / "more" / "d.jpg")

    assert figure(printed, "Images") == "1"
    assert printed.splitlines()[1].endswith("  d.jpg")


def test_a_single_file_that_is_no_image_is_unreadable(folder):
    sentence, code, printed = failed_scan(folder / "ATTRIBUTION.md")

    assert (sentence, code) == ("1 of 1 images could not be read.", 2)
    assert "  ATTRIBUTION.md: This file is not an image" in printed


def test_a_folder_without_images_is_neither_an_error_nor_a_batch(tmp_path):
    (tmp_path / "notes.txt").write_text("just some words")

    printed = scan(tmp_path)

    assert "There are no images in" in printed
    assert not PredictionBatch.objects.exists()


def test_a_given_threshold_decides_the_labels(folder):
    assert figure(scan(folder, threshold=1.0), "REAL") == "3"
    assert figure(scan(folder, threshold=0.0), "FAKE") == "3"


def test_the_batch_size_changes_no_score(folder, tmp_path):
    scan(folder, output=tmp_path / "one.csv", batch_size=1, store=False)
    scan(folder, output=tmp_path / "three.csv", batch_size=3, store=False)

    assert (tmp_path / "one.csv").read_text() == (tmp_path / "three.csv").read_text()


def test_without_storing_there_are_no_records_and_files(folder, stored_files, tmp_path):
    printed = scan(folder, store=False, output=tmp_path / "report.csv")

    assert figure(printed, "Images") == "3"
    assert not PredictionBatch.objects.exists()
    assert not Prediction.objects.exists()
    assert stored_files() == []
    assert {row["id"] for row in rows_of(tmp_path / "report.csv")} == {""}


def test_a_csv_report_has_a_line_per_image_that_agrees_with_its_record(broken_folder, tmp_path):
    failed_scan(broken_folder, output=tmp_path / "report.csv")

    rows = rows_of(tmp_path / "report.csv")
    assert list(rows[0]) == COLUMNS.split()
    names = ["a.jpg", "b.jpg", "notes.png", "été 写真.jpg"]
    assert [row["path"] for row in rows] == [str(broken_folder / name) for name in names]
    record = Prediction.objects.get(pk=rows[0]["id"])
    assert (rows[0]["label"], rows[0]["sha256"]) == (record.label, record.sha256)
    assert float(rows[0]["fake_score"]) == record.fake_score
    assert (rows[1]["label"], rows[1]["code"]) == ("", "truncated_image")


def test_a_report_counts_the_frames_of_an_animation(tmp_path):
    frames = [noise_image(seed=seed) for seed in range(3)]
    (tmp_path / "a.gif").write_bytes(animated("GIF", frames))
    scan(tmp_path, output=tmp_path / "report.csv", store=False)

    [row] = rows_of(tmp_path / "report.csv")
    assert row["frames"] == "3"


def test_a_json_report_has_the_images_and_the_figures(broken_folder, tmp_path):
    failed_scan(broken_folder, output=tmp_path / "report.json")

    report = json.loads((tmp_path / "report.json").read_text())
    assert [list(image) for image in report["images"]] == [COLUMNS.split()] * 4
    assert report["batch_id"] == PredictionBatch.objects.get().pk
    assert (report["total_images"], report["unreadable"], report["other_files"]) == (4, 2, 1)
    assert report["complete"] is True


def test_an_html_report_shows_the_images_and_lists_the_unreadable(broken_folder, tmp_path):
    failed_scan(broken_folder, output=tmp_path / "report.html")

    page = Page((tmp_path / "report.html").read_text())
    assert len(page.all("img")) == 2
    assert "notes.png : This file is not an image" in page.text
    assert PredictionBatch.objects.get().pk in page.text


@pytest.fixture
def odd_folder(tmp_path) -> Path:
    """Files whose names are not UTF-8: an image, a damaged one, a broken link, a pipe."""
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / os.fsdecode(b"\xf1.jpg")).write_bytes(image_bytes())
    (folder / os.fsdecode(b"\xf2.jpg")).write_bytes(image_bytes()[:300])
    (folder / os.fsdecode(b"\xf3")).symlink_to(folder / "missing")
    os.mkfifo(folder / os.fsdecode(b"\xf4"))
    return folder


@pytest.mark.parametrize("suffix", ["csv", "json", "html"])
def test_links_pipes_and_names_that_are_not_utf_8_are_in_the_report(odd_folder, tmp_path, suffix):
    report = tmp_path / f"report.{suffix}"

    sentence, code, printed = failed_scan(odd_folder, output=report)

    assert (sentence, code) == ("3 of 4 images could not be read.", 2)
    assert Prediction.objects.count() == 1
    text = report.read_text(encoding="utf-8-sig")
    if suffix == "json":
        text = "\n".join(image["path"] for image in json.loads(text)["images"])
        text.encode()  # no half surrogate pairs
    for byte in ("f1", "f2", "f3", "f4"):
        assert rf"\udc{byte}" in text
        assert rf"\udc{byte}" in printed


def test_a_name_cannot_control_the_terminal(tmp_path):
    (tmp_path / "red\x1b[31m.jpg").write_bytes(image_bytes())
    (tmp_path / os.fsdecode(b"latin-\xe9.jpg")).write_bytes(image_bytes())
    (tmp_path / "two\nlines.jpg").write_bytes(image_bytes())

    printed = scan(tmp_path)

    assert r"red\x1b[31m.jpg" in printed
    assert r"latin-\udce9.jpg" in printed
    assert r"two\nlines.jpg" in printed
    assert {*Prediction.objects.values_list("original_filename", flat=True)} == {
        "red[31m.jpg",
        "latin-.jpg",
        "two lines.jpg",
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"output": Path("report.pdf")}, "must end in .csv, .json or .html"),
        ({"output": Path("/missing/report.csv")}, "cannot be written: no such file"),
        ({"threshold": 1.5}, "between 0 and 1"),
        ({"threshold": float("nan")}, "between 0 and 1"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_a_bad_option_is_refused_before_any_work(folder, options, sentence):
    failure = failed_scan(folder, **options)

    assert sentence in failure.sentence
    assert failure.code == 1
    assert not PredictionBatch.objects.exists()


def test_a_missing_folder_is_reported_in_one_sentence(tmp_path):
    sentence, code, printed = failed_scan(tmp_path / "missing")

    assert sentence == f"{tmp_path / 'missing'} cannot be opened: no such file or directory."
    assert (code, printed) == (1, "")


@pytest.mark.usefixtures("lost_database")
def test_without_database_the_scan_ends_with_one_sentence_and_no_files(folder, stored_files):
    sentence, code, _ = failed_scan(folder)

    assert (sentence.partition(":")[0], code) == ("The database cannot be reached", 1)
    assert stored_files() == []


@pytest.mark.usefixtures("lost_storage")
def test_without_storage_the_batch_fails_and_there_is_no_report(folder, tmp_path):
    sentence, code, _ = failed_scan(folder, output=tmp_path / "report.csv")

    assert (sentence.partition(":")[0], code) == ("The file storage cannot be reached", 1)
    assert PredictionBatch.objects.get().status == "failed"
    assert not Prediction.objects.exists()
    assert not (tmp_path / "report.csv").exists()


@pytest.fixture
def many_images(tmp_path) -> Path:
    """More images than are judged before a test can interrupt."""
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(image_bytes())
    for number in range(1, 5000):
        (folder / f"{number}.jpg").hardlink_to(folder / "0.jpg")
    return folder


@pytest.mark.own_servers
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_scan_leaves_records_files_and_report_in_agreement(
    installation, many_images, tmp_path, number, code
):
    report = tmp_path / "report.csv"
    with installation.start("scan_folder", many_images, "--output", report) as process:
        for _ in range(3):  # the header and two images
            process.stdout.readline()
        process.send_signal(number)
        printed, complaints = process.communicate()

    assert process.returncode == code
    rows = rows_of(report)
    assert complaints.splitlines()[-1] == (
        f"CommandError: Interrupted after {len(rows)} of 5000 images."
    )
    batch = printed.partition("Batch: ")[2].split()[0]
    [(status, successful, finished_at)] = installation.query(
        f"SELECT status, successful, finished_at FROM prediction_batches WHERE _id = '{batch}'"
    )
    assert (status, successful) == ("failed", len(rows))
    assert finished_at
    recorded = installation.query(
        f"SELECT _id FROM predictions WHERE batch_id = '{batch}' ORDER BY _id"
    )
    assert sorted(row["id"] for row in rows) == [key for (key,) in recorded]
    stored = installation.query("SELECT result_image, original_image FROM predictions")
    assert installation.files == {key for keys in stored for key in keys}
    assert 2 <= len(rows) < 5000


@pytest.mark.own_servers
def test_a_bad_checkpoint_is_reported_in_one_sentence_with_exit_code_1(tmp_path, folder):
    bad = tmp_path / "bad.safetensors"
    bad.write_text("not a checkpoint")

    installation = Installation(tmp_path / "data", bad)
    installation.make_database()
    code, printed, complaints = installation.run("scan_folder", folder)

    assert (code, printed) == (1, "")
    [line] = complaints.splitlines()
    assert line.startswith("CommandError: ")
    assert "bad.safetensors" in line


@pytest.mark.own_servers
def test_without_storing_no_database_is_needed(tmp_path, folder, tiny_checkpoint):
    fresh = Installation(tmp_path / "data", tiny_checkpoint)

    code, printed, complaints = fresh.run("scan_folder", folder, "--no-store")

    assert (code, complaints) == (0, "")
    assert figure(printed, "Images") == "3"
    assert not (fresh.data / "db.sqlite3").exists()
