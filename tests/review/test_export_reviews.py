from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from detection.judging.predict import Upload, predict_image
from detection.models import Prediction
from detection.review import export as review_export
from detection.review.decisions import decide
from tests.support.commands import Failure, failure_of, printed_by, rows_of
from tests.support.factories import a_prediction, image_bytes
from tests.support.settings import ON_SERVERS

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

Review = Prediction.Review
ALL_TO_TRAIN = ("--val-share", "0")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "reviews"


@pytest.fixture
def reviewer() -> User:
    return User.objects.create_user("ada", is_staff=True)


@pytest.fixture
def reviewed(reviewer):
    """A function that stores a prediction with its files, and reviews it."""

    def one(
        seed: int = 0,
        status: str = Review.OVERTURNED,
        image_format: str = "JPEG",
        filename: str = "holiday.jpg",
    ) -> Prediction:
        data = image_bytes(seed=seed, image_format=image_format)
        prediction = predict_image(upload=Upload(filename=filename, data=data), source="api")
        review(prediction, status, reviewer)
        return prediction

    return one


def review(prediction: Prediction, status: str, reviewer: User) -> None:
    revision = prediction.review_revision
    decide(prediction=prediction, status=status, reviewer=reviewer, revision=revision)


def export(folder: Path, *arguments: str) -> str:
    return printed_by("export_reviews", folder, *arguments)


def failed_export(folder: Path, *arguments: str) -> Failure:
    return failure_of("export_reviews", folder, *arguments)


def files(folder: Path) -> set[str]:
    """Return all files of the folder, also hidden ones."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def pictures(folder: Path) -> set[str]:
    return files(folder) - {"manifest.csv"}


def manifest(folder: Path) -> list[dict[str, str]]:
    return rows_of(folder / "manifest.csv")


def place(prediction: Prediction, *, split: str = "train", extension: str = "jpg") -> str:
    class_folder = {"REAL": "0_real", "FAKE": "1_fake"}[prediction.label_in_force]
    return f"{split}/reviews/{class_folder}/{prediction.pk}.{extension}"


def test_verdicts_on_later_frames_are_left_out(reviewed, out):
    """Training sees the first frame."""
    first, later = reviewed(seed=1), reviewed(seed=2)
    Prediction.objects.filter(pk=later.pk).update(frames=12, frame=7, judged_frames=12)

    export(out, *ALL_TO_TRAIN)

    assert {Path(name).stem for name in files(out)} == {first.pk, "manifest"}


def test_reviewed_pictures_lie_in_the_class_that_the_reviewer_gave_them(out, reviewed):
    overturned = reviewed(seed=1)
    confirmed = reviewed(seed=2, status=Review.CONFIRMED)
    predict_image(upload=Upload(filename="x.jpg", data=image_bytes(seed=3)), source="api")

    export(out, *ALL_TO_TRAIN)

    assert overturned.label_in_force != overturned.label
    assert pictures(out) == {place(overturned), place(confirmed)}
    assert (out / place(overturned)).read_bytes() == image_bytes(seed=1)


def test_the_manifest_has_a_line_for_each_picture(out, reviewed):
    prediction = reviewed(filename="=1+1.jpg")

    export(out, *ALL_TO_TRAIN)

    [row] = manifest(out)
    assert row == {
        "path": place(prediction),
        "id": prediction.pk,
        "sha256": hashlib.sha256(image_bytes()).hexdigest(),
        "label": prediction.label_in_force,
        "model_label": prediction.label,
        "fake_score": str(prediction.fake_score),
        "model_name": "d3-test",
        "model_version": prediction.model_version,
        "review_status": "overturned",
        "reviewed_at": prediction.reviewed_at.isoformat(timespec="milliseconds"),
        "reviewer": "ada",
        "original_filename": "'=1+1.jpg",
        "source": "api",
        "width": "64",
        "height": "48",
    }


@pytest.mark.parametrize(
    ("image_format", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")]
)
def test_a_files_extension_is_that_of_its_format(out, reviewed, image_format, extension):
    prediction = reviewed(image_format=image_format, filename="no extension")

    export(out, *ALL_TO_TRAIN)

    assert pictures(out) == {place(prediction, extension=extension)}


def test_the_content_decides_about_the_split(out, tmp_path, reviewed):
    predictions = [reviewed(seed=seed) for seed in range(30)]
    by_split = {
        place(p, split="val" if int(p.sha256[:8], 16) / 2**32 < 0.2 else "train")
        for p in predictions
    }

    printed = export(out)
    export(tmp_path / "half", "--val-share", "0.5")

    validation = {path for path in by_split if path.startswith("val")}
    assert 0 < len(validation) < 15
    assert pictures(out) == by_split
    assert validation < pictures(tmp_path / "half")  # a larger share includes a smaller one
    assert printed.startswith(f"{out}: 30 pictures, ")
    assert printed.endswith(" 30 are new; 0 were removed.\n")


def test_the_same_bytes_are_exported_once_as_the_latest_review_says(out, reviewed):
    first = reviewed()
    second = reviewed(status=Review.CONFIRMED)  # the opposite
    third = reviewed(seed=1)
    fourth = reviewed(seed=1)  # the same

    printed = export(out, *ALL_TO_TRAIN)

    assert first.label_in_force != second.label_in_force
    assert third.label_in_force == fourth.label_in_force
    assert pictures(out) == {place(second), place(fourth)}
    assert "1 pictures have contradicting reviews; the latest counts." in printed


def test_since_selects_later_reviews(out, reviewed):
    old, new = reviewed(seed=1), reviewed(seed=2)
    long_ago = datetime(2026, 11, 21, 23, 59, tzinfo=UTC)
    Prediction.objects.filter(pk=old.pk).update(reviewed_at=long_ago)
    Prediction.objects.filter(pk=new.pk).update(reviewed_at=long_ago + timedelta(minutes=1))

    export(out, "--since", "2026-11-22", *ALL_TO_TRAIN)
    assert pictures(out) == {place(new)}
    export(out, "--since", "2026-11-22T00:59:00+01:00", *ALL_TO_TRAIN)
    assert pictures(out) == {place(old), place(new)}


@pytest.mark.parametrize(
    "arguments", [("--since", "yesterday"), ("--val-share", "2"), ("--val-share", "nan")]
)
def test_invalid_options_are_refused(out, arguments):
    assert arguments[0] in failed_export(out, *arguments).sentence
    assert not out.exists()


def test_a_second_export_moves_changed_decisions_and_removes_undone_ones(out, reviewed, reviewer):
    flipped, taken_back, deleted, stays = (reviewed(seed=seed) for seed in range(4))
    export(out, *ALL_TO_TRAIN)
    before = (out / place(stays)).stat()
    review(flipped, Review.UNREVIEWED, reviewer)
    review(flipped, Review.CONFIRMED, reviewer)
    review(taken_back, Review.UNREVIEWED, reviewer)
    Prediction.objects.filter(pk=deleted.pk).delete()

    printed = export(out, *ALL_TO_TRAIN)

    assert pictures(out) == {place(flipped), place(stays)}
    assert {row["path"] for row in manifest(out)} == pictures(out)
    assert (out / place(stays)).stat().st_mtime_ns == before.st_mtime_ns  # not copied again
    assert printed.endswith("1 are new; 3 were removed.\n")


def test_another_share_moves_pictures_to_the_other_split(out, reviewed):
    prediction = reviewed()
    export(out, "--val-share", "1")
    assert pictures(out) == {place(prediction, split="val")}

    export(out, *ALL_TO_TRAIN)

    assert pictures(out) == {place(prediction)}
    assert not (out / "val").exists()  # training would miss pictures in it


def test_a_folder_with_other_things_is_refused(out, reviewed):
    reviewed()
    out.mkdir()
    (out / "notes.txt").write_text("mine")

    sentence = f"{out} is not empty and no export of reviews; choose another folder."
    assert failed_export(out).sentence == sentence
    (out / "manifest.csv").write_text("file,split,source\n")
    assert failed_export(out).sentence == sentence
    assert files(out) == {"notes.txt", "manifest.csv"}


def test_foreign_files_in_an_export_stay(out, reviewed):
    prediction = reviewed()
    export(out, *ALL_TO_TRAIN)
    own = (out / place(prediction)).with_name("mine.png")
    own.write_bytes(b"a picture")

    export(out, "--since", "2100-01-01")

    assert pictures(out) == {own.relative_to(out).as_posix()}


def test_a_file_in_place_of_the_folder_is_refused(out, reviewed):
    reviewed()
    out.write_text("a file")

    assert failed_export(out).sentence.startswith(f"The export {out} cannot be written: ")


def test_without_reviews_there_is_an_empty_manifest(out):
    assert export(out).startswith(f"{out}: 0 pictures, ")
    assert files(out) == {"manifest.csv"}
    assert manifest(out) == []


def test_lost_originals_are_named_and_the_others_exported(out, reviewed):
    lost, damaged, fine = (reviewed(seed=seed) for seed in range(3))
    default_storage.delete(lost.original_image.name)
    default_storage.delete(damaged.original_image.name)
    default_storage.save(damaged.original_image.name, ContentFile(b"half a pict"))

    sentence, code, printed = failed_export(out, *ALL_TO_TRAIN)

    assert code == 2
    assert sentence == "2 originals are lost; all other pictures are exported."
    assert pictures(out) == {place(fine)}
    assert [row["id"] for row in manifest(out)] == [fine.pk]
    assert lost.pk in printed
    assert damaged.pk in printed


def test_an_exported_picture_no_longer_needs_its_original(out, reviewed):
    prediction = reviewed()
    export(out, *ALL_TO_TRAIN)
    default_storage.delete(prediction.original_image.name)

    export(out, *ALL_TO_TRAIN)

    assert pictures(out) == {place(prediction)}


def test_a_damaged_copy_is_replaced(out, reviewed):
    prediction = reviewed()
    export(out, *ALL_TO_TRAIN)
    (out / place(prediction)).write_bytes(b"half a pict")

    export(out, *ALL_TO_TRAIN)

    assert (out / place(prediction)).read_bytes() == image_bytes()


def test_an_export_that_broke_off_is_completed_by_the_next(out, reviewed, monkeypatch):
    predictions = [reviewed(seed=seed) for seed in range(3)]
    read, calls = review_export.read_original, []

    def broken(prediction: Prediction) -> bytes:
        calls.append(prediction.pk)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return read(prediction)

    monkeypatch.setattr(review_export, "read_original", broken)
    sentence, code, _ = failed_export(out, *ALL_TO_TRAIN)
    assert code == 130
    assert sentence.startswith("Interrupted. 1 pictures are exported;")
    assert files(out) == {"manifest.csv", place(predictions[0])}
    left = (out / place(predictions[1])).with_name(f".{predictions[1].pk}.jpg.1.part")
    left.write_bytes(b"of a killed process")

    export(out, *ALL_TO_TRAIN)

    assert pictures(out) == {place(prediction) for prediction in predictions}
    assert calls == [predictions[0].pk, predictions[1].pk, predictions[1].pk, predictions[2].pk]


def test_a_picture_that_is_reviewed_again_meanwhile_is_left_out(
    out, reviewed, reviewer, monkeypatch
):
    monkeypatch.setattr(review_export, "AT_ONCE", 1)
    first, second = reviewed(seed=1), reviewed(seed=2)
    read = review_export.read_original

    def slow(prediction: Prediction) -> bytes:
        if prediction.pk == first.pk:
            review(second, Review.UNREVIEWED, reviewer)
        return read(prediction)

    monkeypatch.setattr(review_export, "read_original", slow)
    printed = export(out, *ALL_TO_TRAIN)

    assert pictures(out) == {place(first)}
    assert "1 predictions were left out: reviewed again or deleted" in printed


@pytest.mark.django_db(transaction=True)
def test_without_database_the_export_stays_as_it_was(out, reviewed, request):
    prediction = reviewed()
    export(out, *ALL_TO_TRAIN)
    request.getfixturevalue("lost_database")

    sentence, code, _ = failed_export(out, *ALL_TO_TRAIN)

    assert code == 1
    # The export does not begin while a server is down.
    begun = "" if ON_SERVERS else " 0 pictures are exported;"
    assert sentence.startswith(f"The database cannot be reached.{begun}")
    assert pictures(out) == {place(prediction)}


def test_without_storage_nothing_is_half_written(out, reviewer, request):
    request.getfixturevalue("lost_storage")
    prediction = a_prediction()
    review(prediction, Review.OVERTURNED, reviewer)

    sentence, code, _ = failed_export(out)

    assert code == 1
    assert sentence.startswith("The file storage cannot be reached. 0 pictures are exported;")
    assert files(out) == {"manifest.csv"}
