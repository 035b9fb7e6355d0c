"""Animations and documents of several pages: their frames are counted, and judged on request."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from detection.judging import get_detector, rejudge
from detection.models import PerceptualHash, Prediction
from detection.queue.judging import judge_batch
from detection.upkeep.verification import _repair_result
from tests.support.api import (
    a_file,
    assert_nothing_stored,
    assert_refused,
    fetched,
    images_judged,
    sent,
)
from tests.support.factories import noise_image
from tests.support.image_files import animated, encoded

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]

LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}
BLANK = [Image.new("RGB", (64, 48), (level, level, level)) for level in (0, 128, 255)]


def arranged(images: list[Image.Image]) -> list[Image.Image]:
    """Return the images in an order where the fourth has the highest score."""
    *others, best = sorted(images, key=lambda image: get_detector().scores([image]))
    return [*others[:3], best, *others[3:]]


def noise_frames() -> list[Image.Image]:
    return arranged([noise_image(seed=seed) for seed in range(6)])


def pages() -> list[Image.Image]:
    """Return pages of different sizes."""
    return arranged([noise_image(size=(40 + 8 * seed, 32), seed=seed) for seed in range(6)])


def an_animation(name: str = "PNG", frames: list[Image.Image] | None = None):
    data = animated(name, frames or noise_frames(), **LOSSLESS[name])
    return a_file(f"animation.{name.lower()}", data)


def with_a_damaged_frame() -> bytes:
    """Return an animation whose last frame cannot be decoded."""
    data = bytearray(animated("PNG", noise_frames()))
    data[data.rindex(b"fdAT") + 40] ^= 1
    return bytes(data)


def predicted(client, file, **options: str) -> dict:
    response = client.post("/api/predict/", {"image": file, **options})
    assert response.status_code == 200, response.content
    return response.json()


def score_of(frame: Image.Image) -> float:
    [score] = get_detector().scores([frame])
    return round(score, 6)


@pytest.mark.parametrize("name", LOSSLESS)
def test_the_answer_and_the_record_say_how_many_frames_there_are(client, name):
    answer = predicted(client, an_animation(name))

    assert answer["image_info"]["frames"] == 6
    assert (answer["prediction"]["frame"], answer["prediction"]["judged_frames"]) == (1, 1)
    assert answer["prediction"]["scores"]["fake"] == score_of(noise_frames()[0])
    record = client.get(f"/api/predictions/{answer['id']}/").json()
    assert record["image_info"] == answer["image_info"]
    [shown] = client.get("/api/predictions/").json()["predictions"]
    assert shown["image_info"]["frames"] == 6


@pytest.mark.parametrize("name", LOSSLESS)
def test_the_highest_score_of_all_frames_counts(client, name):
    answer = predicted(client, an_animation(name), frames="all")

    verdict = answer["prediction"]
    assert verdict["frame"] == 4
    assert verdict["scores"]["fake"] == max(map(score_of, noise_frames()))
    assert (verdict["judged_frames"], answer["image_info"]["frames"]) == (6, 6)
    record = client.get(f"/api/predictions/{answer['id']}/").json()
    assert record["prediction"] == verdict


def test_32_of_many_frames_are_judged(client):
    before = images_judged()
    frames = [noise_image(size=(16, 12), seed=seed) for seed in range(40)]

    answer = predicted(client, an_animation(frames=frames), frames="all")

    assert images_judged() - before == 32
    assert answer["prediction"]["judged_frames"] == 32
    assert answer["image_info"]["frames"] == 40


def test_a_photograph_has_one_frame(client):
    answer = predicted(client, a_file(), frames="all")

    assert answer["image_info"]["frames"] == 1
    assert (answer["prediction"]["frame"], answer["prediction"]["judged_frames"]) == (1, 1)


def test_the_pictures_show_the_judged_page(client):
    best = pages()[3]

    answer = predicted(client, an_animation("TIFF", pages()), frames="all", explain="true")

    assert (answer["image_info"]["width"], answer["image_info"]["height"]) == best.size
    with Image.open(io.BytesIO(fetched(client, answer["heatmap_url"]))) as heatmap:
        assert heatmap.size == best.size
    page = predicted(client, a_file("page.png", encoded(best, "PNG")))
    drawn, expected = (
        np.asarray(Image.open(io.BytesIO(fetched(client, each["result_image_url"]))))
        for each in (answer, page)
    )
    assert (drawn == expected).all()


def test_frames_without_content_do_not_count_beside_others(client):
    frames = [*BLANK, noise_image()]
    assert max(map(score_of, BLANK)) > score_of(frames[-1])

    verdict = predicted(client, an_animation(frames=frames), frames="all")["prediction"]

    assert (verdict["frame"], verdict["judged_frames"], verdict["reason"]) == (4, 4, None)


def test_an_image_whose_frames_all_lack_content_has_a_reason(client):
    verdict = predicted(client, an_animation(frames=BLANK), frames="all")["prediction"]

    assert (verdict["uncertain"], verdict["reason"]) == (True, "no_content")


def test_the_same_bytes_judged_by_other_frames_are_no_duplicate(client):
    first = predicted(client, an_animation())
    whole = predicted(client, an_animation("PNG"), frames="all")
    before = images_judged()

    again = predicted(client, an_animation(), frames="all", explain="true")
    first_again = predicted(client, an_animation())

    assert images_judged() == before
    assert whole["duplicate_of"] is None
    assert again["duplicate_of"] == whole["id"]
    assert first_again["duplicate_of"] == first["id"]
    assert again["prediction"] == whole["prediction"]
    assert first_again["prediction"] == first["prediction"]


@pytest.mark.parametrize("value", ["", "12", "every"])
@pytest.mark.parametrize("path", ["/api/predict/", "/predict", "/api/batches/"])
def test_an_unknown_value_is_refused(client, stored_files, path, value):
    field = "images" if "batches" in path else "image"

    response = client.post(path, {field: a_file(), "frames": value})

    assert "frames" in assert_refused(response, 400, "invalid")
    assert_nothing_stored(stored_files)


def test_store_false_judges_all_frames_too(client, stored_files):
    verdict = predicted(client, an_animation(), frames="all", store="false")["prediction"]

    assert verdict["frame"] == 4
    assert_nothing_stored(stored_files)


def test_a_bad_file_of_a_batch_does_not_affect_an_animation(client):
    damaged = with_a_damaged_frame()
    files = [an_animation(), a_file("1.png", damaged), a_file(), a_file("3.png", damaged)]

    body = sent(client, *files, frames="all").json()

    assert [result["index"] for result in body["results"]] == [0, 2]
    frames = [result["prediction"]["frame"] for result in body["results"]]
    assert frames == [4, 1]
    assert [error["code"] for error in body["errors"]] == ["damaged_image"] * 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_judging")
def test_a_queued_batch_judges_all_frames(client):
    response = sent(client, an_animation(), a_file(), **{"async": "true", "frames": "all"})
    judge_batch(batch_id=response.json()["batch_id"])

    first, second = Prediction.objects.order_by("batch_index")
    assert (first.frame, first.judged_frames) == (4, 6)
    assert (second.frame, second.judged_frames) == (1, 1)


def test_a_damaged_frame_is_an_error_only_where_it_is_judged(client, stored_files):
    data = with_a_damaged_frame()

    response = client.post("/api/predict/", {"image": a_file("a.png", data), "frames": "all"})

    assert_refused(response, 400, "damaged_image")
    assert_nothing_stored(stored_files)
    assert predicted(client, a_file("a.png", data))["image_info"]["frames"] == 6


def test_more_frames_than_can_be_judged_are_refused(client, stored_files, settings):
    settings.MAX_IMAGE_PIXELS = 64 * 48
    file = an_animation()

    response = client.post("/api/predict/", {"image": file, "frames": "all"})

    assert "more frames" in assert_refused(response, 413, "too_many_pixels")
    assert_nothing_stored(stored_files)
    assert predicted(client, an_animation())["image_info"]["frames"] == 6


def test_the_picture_of_a_lost_result_shows_the_judged_page(client):
    answer = predicted(client, an_animation("TIFF", pages()), frames="all")
    prediction = Prediction.objects.get()
    before = fetched(client, answer["result_image_url"])
    prediction.result_image.storage.delete(prediction.result_image.name)

    _repair_result(prediction)

    assert fetched(client, answer["result_image_url"]) == before


def test_judging_again_judges_the_same_frames(client):
    for options in ({}, {"frames": "all"}):
        predicted(client, an_animation(), **options)
    Prediction.objects.update(model_version="an earlier one")

    again = list(rejudge(predictions=Prediction.objects.all()))

    assert sorted(each.verdict.judged_frames for each in again) == [1, 6]
    assert list(rejudge(predictions=Prediction.objects.all())) == []


def test_a_verdict_on_a_later_frame_is_no_look_alike_of_the_first(client):
    predicted(client, an_animation(), frames="all")
    assert not PerceptualHash.objects.exists()

    predicted(client, an_animation())
    assert PerceptualHash.objects.exists()
