from __future__ import annotations

from datetime import UTC, datetime

import pytest

from detection.files.keys import clean_filename, result_filename, storage_key

pytestmark = pytest.mark.stateless

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
RECORD_ID = "01JDABCDEFGHJKMNPQRSTVWXYZ"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("test.jpg", "test.jpg"),
        ("../../etc/passwd", "passwd"),
        (r"C:\photos\me.png", "me.png"),
        ("写真 été.jpg", "写真 été.jpg"),
        ("line\r\nbreak\x00.jpg", "line break.jpg"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("broken\udcff.jpg", "broken.jpg"),
        ("  spaced   out .jpg ", "spaced out .jpg"),
        ("..", "image"),
        ("", "image"),
        ("folder/", "image"),
    ],
)
def test_a_clients_name_keeps_its_script_and_loses_its_path(given, kept):
    assert clean_filename(given) == kept


def test_a_long_name_is_cut_and_keeps_its_extension():
    name = clean_filename("é" * 5000 + ".jpeg")

    assert len(name) == 200
    assert name.endswith("é.jpeg")


def test_the_result_is_named_after_its_time_and_its_original():
    name = result_filename(original="test.png", moment=NOON)

    assert name == "result_20261122_120000_test.jpg"


@pytest.mark.parametrize(
    ("filename", "key"),
    [
        ("result_été.jpg", f"results/2026/11/{RECORD_ID}_result_ete.jpg"),
        ("写真.jpg", f"results/2026/11/{RECORD_ID}_image.jpg"),
        ("a b;c'<d>.jpg", f"results/2026/11/{RECORD_ID}_a-b-c-d.jpg"),
    ],
)
def test_a_storage_key_is_plain_ascii_with_the_records_id(filename, key):
    assert storage_key(folder="results", record_id=RECORD_ID, moment=NOON, filename=filename) == key


def test_a_storage_key_fits_its_column_whatever_the_name():
    filename = result_filename(original=clean_filename("x" * 5000 + ".jpg"), moment=NOON)

    key = storage_key(folder="originals", record_id=RECORD_ID, moment=NOON, filename=filename)

    assert len(filename) <= 255
    assert len(key) <= 255
