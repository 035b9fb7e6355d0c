"""Look-alikes: stored verdicts on similar pictures, found by an index."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from PIL import Image, ImageOps

from detection.judging.predict import predict_image
from detection.models import PerceptualHash, Prediction
from detection.records import lookalikes
from detection.records.deleting import delete_with_files
from detection.records.lookalikes import (
    MAX_DISTANCE,
    MAX_SIMILAR,
    _near,
    agreement_of,
    find_lookalikes,
    lookalikes_of,
    nearest_reviewed,
)
from detection.records.perceptual_hash import BAND_BITS, BANDS, BITS, REGIONS, perceptual_hashes
from tests.support.factories import (
    a_pictured_prediction,
    a_prediction,
    an_upload,
    jpeg_bytes,
    scene,
    unsaved_prediction,
)
from tests.support.settings import ON_SERVERS

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

PICTURE = scene(seed=1)


def test_changed_copies_are_found_the_nearest_first_and_other_pictures_are_not():
    same, cropped = map(a_pictured_prediction, (PICTURE, PICTURE.crop((0, 0, 304, 228))))
    a_pictured_prediction(scene(seed=2))
    found = list(find_lookalikes(perceptual_hashes(PICTURE), among=Prediction.objects.all()))

    assert [each.prediction.pk for each in found] == [same.pk, cropped.pk]
    assert found[0].distance == 0
    assert 0 < found[1].distance <= MAX_DISTANCE


def test_a_cropped_copy_and_a_mirror_image_find_the_picture():
    prediction = a_pictured_prediction(PICTURE)
    for changed in (PICTURE.crop((8, 6, 312, 234)), ImageOps.mirror(PICTURE)):
        [found] = find_lookalikes(perceptual_hashes(changed), among=Prediction.objects.all())
        assert found.prediction == prediction


def test_a_picture_that_agrees_in_one_band_alone_is_no_look_alike():
    a_pictured_prediction(PICTURE)
    behind_the_first_band = 2 ** (BITS - BAND_BITS) - 1
    other = perceptual_hashes(PICTURE)[0] ^ behind_the_first_band

    assert list(find_lookalikes([other], among=Prediction.objects.all())) == []


def test_a_record_has_its_look_alikes_without_itself():
    first, second = a_pictured_prediction(PICTURE), a_pictured_prediction(PICTURE)

    assert [each.prediction for each in lookalikes_of(first, user=None)] == [second]
    assert lookalikes_of(a_prediction(), user=None) == []  # it has no picture


def test_only_records_that_the_caller_may_see_are_found(closed):
    ann, bob = (get_user_model().objects.create_user(name) for name in ("ann", "bob"))
    own, other = (a_pictured_prediction(PICTURE, owner=user) for user in (ann, bob))
    latest = a_pictured_prediction(PICTURE)

    assert [each.prediction for each in lookalikes_of(latest, user=ann)] == [own]
    assert [each.prediction for each in lookalikes_of(latest, user=None)] == [own, other]


def test_a_deleted_record_leaves_nothing_in_the_index():
    kept, deleted = a_pictured_prediction(scene(seed=1)), a_pictured_prediction(scene(seed=1))
    delete_with_files([deleted])

    assert PerceptualHash.objects.count() == REGIONS
    assert lookalikes_of(kept, user=None) == []


def test_judging_writes_the_index_and_whether_the_model_agrees_with_itself():
    first = predict_image(upload=an_upload(data=jpeg_bytes(PICTURE)), source="api")
    again = predict_image(upload=an_upload(data=jpeg_bytes(PICTURE)), source="api")
    second = predict_image(
        upload=an_upload(data=jpeg_bytes(PICTURE.resize((300, 225)))), source="api"
    )

    assert first.agreement == again.agreement == ""  # the same bytes have the same score
    agrees = first.label == second.label
    assert second.agreement == ("agrees" if agrees else "contradicts")
    assert {each.prediction for each in lookalikes_of(second, user=None)} == {first, again}


def test_only_verdicts_of_the_same_model_agree_or_contradict():
    a_pictured_prediction(PICTURE, model_version="1", label="FAKE", sha256="1" * 64)
    hashes = perceptual_hashes(PICTURE)

    assert agreement_of(unsaved_prediction(label="FAKE"), hashes) == "agrees"
    assert agreement_of(unsaved_prediction(label="REAL"), hashes) == "contradicts"
    assert agreement_of(unsaved_prediction(model_version="2"), hashes) == ""
    assert agreement_of(unsaved_prediction(sha256="1" * 64), hashes) == ""


def test_an_image_without_content_has_no_look_alikes():
    blank = jpeg_bytes(Image.new("RGB", (300, 200), "white"))
    other = jpeg_bytes(Image.new("RGB", (400, 200), "white"))
    for data in (blank, other):
        prediction = predict_image(upload=an_upload(data=data), source="api")
        assert lookalikes_of(prediction, user=None) == []
    assert not PerceptualHash.objects.exists()


@pytest.mark.parametrize("place", range(BANDS))
def test_each_band_is_looked_up_by_its_index(place):
    a_pictured_prediction(scene(seed=1))
    plan = PerceptualHash.objects.filter(**_near(place, [1, 2])).explain()

    if ON_SERVERS:
        assert "IXSCAN" in plan
        assert "COLLSCAN" not in plan
    else:
        assert f"(band_{place}=?)" in plan
        assert "SCAN" not in plan


def test_no_more_records_are_loaded_than_are_needed(monkeypatch, django_assert_num_queries):
    """Read few, since a caller may send the same picture a thousand times."""
    monkeypatch.setattr(lookalikes, "LOADED_TOGETHER", 2)
    for number in range(5):
        a_pictured_prediction(PICTURE, model_version="1", sha256=f"{number:064}")
    hashes = perceptual_hashes(PICTURE)

    with django_assert_num_queries(BANDS + 1):
        assert agreement_of(unsaved_prediction(model_version="1"), hashes)
    with django_assert_num_queries(BANDS + 3):
        assert len(list(find_lookalikes(hashes, among=Prediction.objects.all()))) == 5


def test_a_review_is_found_behind_any_number_of_unreviewed_look_alikes():
    for _ in range(MAX_SIMILAR + 1):
        a_pictured_prediction(PICTURE)
    reviewed = a_pictured_prediction(PICTURE, review_status="overturned")
    latest = a_pictured_prediction(PICTURE)

    assert nearest_reviewed(latest, user=None).prediction == reviewed
    assert len(lookalikes_of(latest, user=None)) == MAX_SIMILAR
