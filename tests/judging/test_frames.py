"""All frames of an image are judged one after the other, until the client hangs up."""

from __future__ import annotations

import pytest

from detection.judging import frames
from detection.judging.batcher import CallerGoneError
from detection.judging.predict import predict_image
from detection.judging.scoring import is_caller_gone
from tests.support.factories import an_upload, noise_image
from tests.support.image_files import animated

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tiny_checkpoint")]


@pytest.fixture
def decoded(monkeypatch) -> list[tuple[int, int]]:
    """The sizes of the frames that are decoded after the first."""
    sizes, decode_frames = [], frames.decode_frames

    def noted(*arguments):
        for pixels in decode_frames(*arguments):
            sizes.append(pixels.size)
            yield pixels

    monkeypatch.setattr(frames, "decode_frames", noted)
    return sizes


def judge_30_frames() -> int:
    data = animated("PNG", [noise_image(size=(16, 12), seed=seed) for seed in range(30)])
    upload = an_upload(filename="a.png", data=data)
    return predict_image(upload=upload, source="api", store=False, all_frames=True).judged_frames


def test_each_frame_is_decoded_once(decoded):
    assert judge_30_frames() == 30
    assert decoded == [(16, 12)] * 29


def test_few_frames_are_decoded_for_a_caller_that_hung_up(decoded):
    before = is_caller_gone.set(lambda: True)
    try:
        with pytest.raises(CallerGoneError):
            judge_30_frames()
    finally:
        is_caller_gone.reset(before)

    assert len(decoded) <= frames.AHEAD
