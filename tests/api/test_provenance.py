"""What the API says of the origin of files."""

from __future__ import annotations

import pytest

from detection.judging.provenance import manifest_helper
from detection.models import Prediction
from tests.support.api import a_file, a_user, assert_refused, sent
from tests.support.factories import a_prediction
from tests.support.failures import raising
from tests.support.provenance import (
    AUTOMATIC1111,
    MIDJOURNEY,
    SAYS_NOTHING,
    a_generated_record,
    generated_picture,
    picture_with,
    the_signer,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

URL = "/api/predictions/"


def predicted(client, data: bytes, **options: str) -> dict:
    response = client.post("/api/predict/", {"image": a_file(data=data), **options})
    assert response.status_code == 200, response.content
    return response.json()


def test_a_verdict_has_what_the_file_says(client):
    data = picture_with(texts={"Description": MIDJOURNEY})
    found = predicted(client, data)
    stored = Prediction.objects.get()
    provenance = found["provenance"]
    [claim] = provenance["claims"]
    assert (provenance["declares"], provenance["generator"]) == ("generated", "Midjourney")
    assert provenance["says"] == "This file says that it was made with Midjourney."
    assert provenance["contradicts_label"] == (found["prediction"]["label"] == "REAL")
    assert (claim["trust"], claim["place"]) == ("unsigned", "PNG text 'Description'")
    assert claim["trust_says"] == "Not signed: anybody can write or delete this."
    assert claim["details"]["prompt"] == "A lighthouse at dusk --ar 3:2 --v 7"
    assert (stored.declares, stored.disputed) == ("generated", provenance["contradicts_label"])
    assert client.get(f"{URL}{stored.pk}/").json()["provenance"] == provenance
    assert predicted(client, data, store="false")["provenance"] == provenance


def test_a_signed_manifest_names_its_signer(client):
    [claim] = predicted(client, generated_picture())["provenance"]["claims"]
    assert (claim["kind"], claim["signer"], claim["trust"]) == ("c2pa", "Test Maker", "intact")


def test_a_signer_on_the_trust_list_is_trusted(client, settings, tmp_path):
    settings.C2PA_TRUST_LIST = tmp_path / "anchors.pem"
    settings.C2PA_TRUST_LIST.write_text(the_signer().root)
    manifest_helper.cache_clear()
    try:
        [claim] = predicted(client, generated_picture())["provenance"]["claims"]
    finally:
        manifest_helper().close()
        manifest_helper.cache_clear()
    assert (claim["signer"], claim["trust"]) == ("Test Maker", "trusted")


def test_the_verdict_depends_on_the_pixels_alone(client):
    plain, said = (picture_with(texts=texts) for texts in ({}, {"Description": MIDJOURNEY}))
    verdicts = [predicted(client, data)["prediction"] for data in (plain, said)]
    assert verdicts[0] == verdicts[1]


def test_each_image_of_a_batch_has_its_own_origin(client):
    said = a_file("said.png", picture_with(texts={"Description": MIDJOURNEY}))
    results = sent(client, a_file("plain.jpg"), said).json()["results"]
    assert results[0]["provenance"] == SAYS_NOTHING
    assert results[1]["provenance"]["declares"] == "generated"


def test_an_old_record_says_that_it_was_never_inspected(client):
    assert client.get(f"{URL}{a_prediction().pk}/").json()["provenance"] is None


def test_an_upload_is_judged_if_its_origin_cannot_be_read(client, monkeypatch):
    monkeypatch.setattr("detection.judging.provenance.inspect", raising(MemoryError))
    found = predicted(client, generated_picture())["provenance"]
    assert found == SAYS_NOTHING | {"unread": ["file"]}


def test_whole_prompts_are_read_from_the_file(client):
    data = picture_with(texts={"parameters": "lighthouse " * 60 + AUTOMATIC1111})
    record = predicted(client, data)
    whole = client.get(f"{URL}{record['id']}/provenance/").json()
    assert whole.pop("success") is True
    [cut], [full] = record["provenance"]["claims"], whole["claims"]
    assert len(cut["details"]["prompt"]) == 300
    assert full["details"]["prompt"].startswith("lighthouse " * 60)
    assert whole["declares"] == "generated"


def test_the_file_of_another_user_is_not_read(client, closed):
    record = a_generated_record(owner=a_user("bob"))
    client.force_login(a_user("ann"))
    assert_refused(client.get(f"{URL}{record.pk}/provenance/"), 404, "not_found")


@pytest.mark.usefixtures("nothing_counted")
def test_reading_the_file_is_throttled_like_judging(client, rates):
    rates["predict"] = "2/min"
    record = predicted(client, generated_picture())
    first, second = (client.get(f"{URL}{record['id']}/provenance/") for _ in range(2))
    assert first.status_code == 200
    assert_refused(second, 429, "throttled")
    assert client.get(f"{URL}{record['id']}/").status_code == 200


def test_a_lost_original_has_no_whole_prompt(client):
    record = a_generated_record()
    assert_refused(client.get(f"{URL}{record.pk}/provenance/"), 404, "original_lost")


def test_an_unknown_declaration_is_refused(client):
    assert_refused(client.get(URL, {"declares": "nothing"}), 400, "invalid")
