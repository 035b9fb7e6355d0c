from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from PIL import Image

from detection.judging.predict import predict_image
from detection.models import Prediction, now
from tests.support.commands import failure_of, printed_by
from tests.support.factories import an_upload

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

FINE = "Every record has its files, and every file its record.\n"


def verify(*arguments: str) -> str:
    return printed_by("verify_storage", "--min-age", "0m", *arguments)


def found() -> list[str]:
    sentence, code, printed = failure_of("verify_storage", "--min-age", "0m")
    assert "--repair repairs them" in sentence
    assert code == 1
    return printed.splitlines()


@pytest.fixture
def prediction() -> Prediction:
    return predict_image(upload=an_upload(), source="api")


def test_an_empty_installation_is_fine():
    assert verify() == FINE


def test_matching_records_and_files_are_fine(prediction):
    predict_image(upload=an_upload(seed=1), source="api")

    assert verify() == FINE


@pytest.mark.parametrize(
    "key",
    [
        "results/2026/11/01JDABCDEFGHJKMNPQRSTVWXYZ_result_x.jpg",
        "originals/2019/01/whatever.jpg",
        "health/01JDABCDEFGHJKMNPQRSTVWXYZ",
        "results/lost.txt",
        "results/2026/13/01JDABCDEFGHJKMNPQRSTVWXYZ_result_x.jpg",
        "originals/2026/11/deeper/x.jpg",
    ],
)
def test_a_file_without_record_is_found_and_deleted(prediction, key):
    default_storage.save(key, ContentFile(b"nobody knows me"))

    assert found() == [f"No record has the file {key}."]
    assert "The file was deleted." in verify("--repair")
    assert verify() == FINE
    assert default_storage.exists(prediction.result_image.name)


def test_a_second_file_of_a_record_that_it_does_not_name_is_found(prediction):
    key = prediction.result_image.name.replace("_result_", "_other_")
    default_storage.save(key, ContentFile(b"an older drawing"))

    assert found() == [f"No record has the file {key}."]


def test_a_new_file_is_left_alone_since_its_record_may_follow():
    default_storage.save("results/lost.txt", ContentFile(b"new"))

    assert printed_by("verify_storage") == FINE


def test_a_lost_result_is_found_and_drawn_again(prediction):
    drawn = prediction.result_image.read()
    default_storage.delete(prediction.result_image.name)

    [line] = found()
    assert line == f"The record {prediction.pk} has no file {prediction.result_image.name}."
    assert "The result was drawn again." in verify("--repair")
    with default_storage.open(prediction.result_image.name) as file:
        assert file.read() == drawn
        assert Image.open(file).format == "JPEG"
    assert verify() == FINE


def test_a_record_whose_original_is_lost_no_longer_names_it(prediction):
    default_storage.delete(prediction.original_image.name)

    assert len(found()) == 1
    assert "The record no longer names the file." in verify("--repair")
    assert not Prediction.objects.get().original_image
    assert verify() == FINE


def test_a_record_that_lost_both_files_is_deleted(prediction, stored_files):
    other = predict_image(upload=an_upload(seed=1), source="api")
    for key in prediction.file_keys:
        default_storage.delete(key)

    assert len(found()) == 2
    assert "the record was deleted" in verify("--repair")
    assert list(Prediction.objects.all()) == [other]
    assert stored_files() == sorted(other.file_keys)
    assert verify() == FINE


def test_records_of_every_month_are_compared(prediction):
    for days in (40, 400):
        moment = now().replace(year=2025, month=1 if days == 400 else 12)
        other = predict_image(upload=an_upload(seed=days), source="api")
        Prediction.objects.filter(pk=other.pk).update(created_at=moment)
        default_storage.delete(other.result_image.name)

    lines = found()

    assert sum(line.startswith("The record") for line in lines) == 2
    # The month in the keys differs from the records': the files still belong to the records.
    assert not any(line.startswith("No record") for line in lines)


def test_files_of_others_in_the_same_bucket_are_left_alone(prediction):
    for key in ("invoice.pdf", "backups/2026/11/all.zip"):
        default_storage.save(key, ContentFile(b"not ours"))

    assert verify("--repair") == FINE
    assert default_storage.exists("invoice.pdf")


def test_nothing_is_repaired_in_a_storage_that_seems_to_be_the_wrong_one(prediction):
    for key in prediction.file_keys:
        default_storage.delete(key)

    with pytest.raises(CommandError, match="wrong database, bucket or folder"):
        verify("--repair")
    assert Prediction.objects.exists()


def test_nothing_is_repaired_by_a_database_that_seems_to_be_the_wrong_one(prediction, stored_files):
    Prediction.objects.all().delete()

    with pytest.raises(CommandError, match="Nothing was repaired"):
        verify("--repair")
    assert len(stored_files()) == 2


def test_an_original_that_is_no_image_is_reported_and_the_rest_repaired(prediction, capsys):
    other = predict_image(upload=an_upload(seed=1), source="api")
    for each in (prediction, other):
        default_storage.delete(each.result_image.name)
    default_storage.delete(prediction.original_image.name)
    default_storage.save(prediction.original_image.name, ContentFile(b"overwritten by somebody"))

    with pytest.raises(CommandError, match="1 of 2 discrepancies cannot be repaired"):
        call_command("verify_storage", "--repair")
    printed = capsys.readouterr().out

    assert "The result cannot be drawn again: This file is not an image" in printed
    assert "The result was drawn again." in printed


@pytest.mark.parametrize(
    ("lost", "name"), [("lost_storage", "file storage"), ("lost_database", "database")]
)
def test_without_storage_or_database_it_says_so(request, lost, name):
    request.getfixturevalue(lost)

    with pytest.raises(CommandError, match=f"The {name} cannot be reached"):
        verify()
