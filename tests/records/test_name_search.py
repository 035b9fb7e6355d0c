"""A search finds the same names with the index and without it."""

from __future__ import annotations

import unicodedata

import pytest
from django.core.management import call_command
from django.db import connection

from detection.models import Prediction
from detection.records import name_search
from detection.records.deleting import delete_with_files
from detection.records.name_search import find_by_name
from tests.support.factories import a_prediction, store_predictions, unsaved_prediction
from tests.support.settings import ON_SERVERS

pytestmark = pytest.mark.django_db

NAMES = ["IMG_0001.jpg", "img_0012.JPG", 'a "quoted" name.png', "50% off_now.webp", "Зима.jpg", "x"]
on_sqlite = pytest.mark.skipif(ON_SERVERS, reason="the index is SQLite's")


@pytest.fixture(params=[0, 500], ids=["too common for the index", "by the index"])
def few(request, monkeypatch) -> int:
    monkeypatch.setattr(name_search, "FEW", request.param)
    return request.param


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("img_00", [0, 1]),
        ("0012.jpg", [1]),
        ('"quoted"', [2]),
        ("% off_n", [3]),
        ("_00_", []),
        ("NOT img", []),
        ("img*", []),
        ("има", [4]),
        ("im", [0, 1]),
        ("x", [5]),
        ("nowhere", []),
    ],
)
def test_names_that_contain_a_text_are_found(text, found):
    for name in NAMES:
        a_prediction(original_filename=name)

    names = {each.original_filename for each in find_by_name(Prediction.objects.all(), text)[0]}

    assert names == {NAMES[place] for place in found} | {
        name for name in NAMES if text == "x" and "x" in name
    }


OTHER_FORMS = {
    "Cyrillic": ("ЗИМА 2026.jpg", "зима"),
    "Greek, its last sigma": ("ΟΔΟΣ.jpg", "οδος"),
    "sharp s": ("STRASSE.jpg", "straße"),
    "sharp s in the name": ("straße.jpg", "STRASS"),
    "accents as macOS writes them": ("cafe\u0301 e\u0301te\u0301.jpg", "CAFÉ É"),
    "accents in the search": ("Café.jpg", "cafe\u0301"),
    "Vietnamese": ("Ảnh Đẹp Ở Huế.jpg", unicodedata.normalize("NFD", "ảnh đẹp ở huế")),
    "Korean": (unicodedata.normalize("NFD", "사진관.jpg"), "사진관"),
    "a dotted capital": ("İSTANBUL.jpg", "i\u0307stan"),
    "a long name": ("ΐ" * 190 + ".jpg", "ΐ" * 190 + ".JPG"),
}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("name", "text"), OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_names_are_found_in_any_case_and_any_unicode_form(name, text, client):
    record = a_prediction(original_filename=name)
    a_prediction(original_filename="other.jpg")

    assert [*find_by_name(Prediction.objects.all(), text)[0]] == [record]
    for path in ("/api/predictions/", "/history/"):
        page = client.get(path, {"search": text}).content.decode()
        assert record.pk in page
        assert "other.jpg" not in page


def test_the_admin_finds_names_in_any_case_and_any_unicode_form(admin_client):
    a_prediction(original_filename="Зима cafe\u0301.jpg")
    a_prediction(original_filename="other.jpg")

    page = admin_client.get("/admin/detection/prediction/?q=ЗИМА+CAFÉ").content.decode()

    assert "Зима" in page
    assert "other.jpg" not in page


def test_records_written_together_are_found_too():
    store_predictions(unsaved_prediction(original_filename=name) for name in ("Ä.jpg", "Ö.jpg"))

    assert find_by_name(Prediction.objects.all(), "ö.j")[0].get().original_filename == "Ö.jpg"


def test_deleted_records_are_no_longer_found():
    kept, gone = (a_prediction(original_filename="beach.jpg") for _ in range(2))

    delete_with_files([gone])

    assert list(find_by_name(Prediction.objects.all(), "beach")[0]) == [kept]
    if not ON_SERVERS:
        assert name_search._few_with("beach") == [kept.pk]


@on_sqlite
def test_the_index_is_created_anew_after_a_migration_that_deleted_its_triggers():
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER file_name_written")
    record = a_prediction(original_filename="beach.jpg")
    assert name_search._few_with("beach") == []

    call_command("migrate", verbosity=0)

    assert name_search._few_with("beach") == [record.pk]
    assert a_prediction(original_filename="a beach.jpg").pk in name_search._few_with("beach")


@on_sqlite
def test_there_is_no_index_after_a_migration_that_deleted_the_predictions():
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER file_name_written")
        cursor.execute("ALTER TABLE predictions RENAME TO away")

    name_search.restore_index(using="default")

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE away RENAME TO predictions")
    assert not name_search.STATEMENTS.keys() <= name_search._tables_and_triggers("default")


@on_sqlite
@pytest.mark.parametrize("path", ["/api/predictions/?search=", "/history/?search="])
def test_the_search_uses_the_index(client, path, monkeypatch):
    asked = []
    monkeypatch.setattr(name_search, "_few_with", lambda text: asked.append(text) or [])

    assert client.get(f"{path}beach").status_code == 200

    assert asked == ["beach"]
