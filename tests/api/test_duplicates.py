from __future__ import annotations

import pytest

from detection.models import Prediction
from tests.support.api import (
    a_client,
    a_file,
    a_token,
    a_user,
    assert_nothing_stored,
    images_judged,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


def predicted(client, name: str = "test.jpg", **options: str) -> dict:
    response = client.post("/api/predict/", {"image": a_file(name), **options})
    assert response.status_code == 200, response.content
    return response.json()


def test_the_same_bytes_are_not_judged_again(client):
    first = predicted(client)
    before = images_judged()
    second = predicted(client)

    assert images_judged() == before
    assert second["prediction"] == first["prediction"]
    assert second["model"] == first["model"]


def test_a_duplicate_has_a_record_of_its_own(client, stored_files):
    first, second = predicted(client, "a.jpg"), predicted(client, "b.jpg")

    assert (first["duplicate_of"], second["duplicate_of"]) == (None, first["id"])
    assert (second["filename"], second["id"]) != (first["filename"], first["id"])
    assert len(stored_files()) == 4
    records = client.get("/api/predictions/").json()["predictions"]
    assert [record["duplicate_of"] for record in records] == [first["id"], None]
    assert client.get(f"/api/predictions/{second['id']}/").json()["duplicate_of"] == first["id"]


def test_each_duplicate_names_the_first(client):
    first = predicted(client)

    assert [predicted(client)["duplicate_of"] for _ in range(2)] == [first["id"]] * 2


def test_deleting_the_first_leaves_the_duplicate_whole(client, stored_files):
    first, second = predicted(client), predicted(client)
    client.delete(f"/api/predictions/{first['id']}/")

    assert len(stored_files()) == 2
    before = images_judged()
    assert predicted(client)["prediction"] == second["prediction"]
    assert images_judged() == before


def test_another_threshold_decides_the_label_by_the_stored_score(client):
    first = predicted(client)
    before = images_judged()
    for threshold, label in (("0", "FAKE"), ("1", "REAL")):
        answer = predicted(client, threshold=threshold)
        assert answer["prediction"]["label"] == label
        assert answer["prediction"]["scores"] == first["prediction"]["scores"]
        assert answer["model"]["threshold"] == float(threshold)
        assert answer["duplicate_of"] == first["id"]

    assert images_judged() == before
    assert predicted(client)["prediction"] == first["prediction"]


def test_another_version_of_the_model_judges_anew(client):
    predicted(client)
    Prediction.objects.update(model_version="an earlier one", fake_score=0.123)
    before = images_judged()
    answer = predicted(client)

    assert images_judged() == before + 1
    assert answer["duplicate_of"] is None
    assert answer["prediction"]["scores"]["fake"] != 0.123


def test_store_false_judges_and_stores_nothing(client, stored_files):
    answer = predicted(client, store="false")

    assert answer["id"] is answer["duplicate_of"] is None
    assert answer["result_image_url"] is answer["result_filename"] is None
    assert_nothing_stored(stored_files)
    assert predicted(client)["duplicate_of"] is None


def test_store_false_uses_a_stored_score_too(client, stored_files):
    kept = predicted(client)
    before, files = images_judged(), stored_files()

    answer = predicted(client, store="false")

    assert images_judged() == before
    assert answer["prediction"] == kept["prediction"]
    assert (answer["id"], answer["duplicate_of"]) == (None, kept["id"])
    assert Prediction.objects.count() == 1
    assert stored_files() == files


def test_with_tokens_store_false_reveals_no_record_of_others(closed):
    ann, bob = (a_client(a_token(a_user(name))) for name in ("ann", "bob"))
    anns = predicted(ann)
    form = {"images": a_file(), "store": "false"}

    assert predicted(bob, store="false")["duplicate_of"] is None
    [result] = bob.post("/api/batches/", form).json()["results"]
    assert result["duplicate_of"] is None
    [result] = ann.post("/api/batches/", {**form, "images": a_file()}).json()["results"]
    assert result["duplicate_of"] == anns["id"]


def test_with_tokens_the_records_of_others_are_neither_used_nor_revealed(closed):
    ann, bob = (a_client(a_token(a_user(name))) for name in ("ann", "bob"))
    anns = predicted(ann)
    Prediction.objects.update(fake_score=0.123)
    before = images_judged()
    bobs = predicted(bob)

    assert images_judged() == before + 1
    assert bobs["duplicate_of"] is None
    assert bobs["prediction"] == anns["prediction"]
    assert predicted(bob)["duplicate_of"] == bobs["id"]
    assert predicted(ann)["duplicate_of"] == anns["id"]


def test_staff_and_callers_with_open_access_share_all_scores(settings):
    settings.API_ACCESS = "token"
    first = predicted(a_client(a_token(a_user("ann"))))
    staff = a_client(a_token(a_user("sue", is_staff=True)))

    assert predicted(staff)["duplicate_of"] == first["id"]
    settings.API_ACCESS = "open"
    assert predicted(a_client(a_token(a_user("bob"))))["duplicate_of"] == first["id"]
