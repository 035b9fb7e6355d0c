"""The loop: overturned verdicts are exported and trained on, and right afterwards."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import torch
from django.core.management import call_command
from PIL import Image

from detection.d3 import Detector
from detection.d3.checkpoints import load
from detection.d3.dataset import scan_dataset
from detection.judging.active_detector import get_detector
from detection.models import Prediction
from tests.support import checkpoints
from tests.support.checkpoints import LEARNER, STRIPES, a_clip, saved
from tests.support.waiting import eventually

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

SEED = 0  # any seed works
STRONG, FAINT = 40, 12  # amplitudes of stripes, in grey levels
IMAGES = 20  # of the new kind


def picture(*, rows: float = 0, columns: float = 0, seed: list[int]) -> bytes:
    """Return noise with stripes of period 4 and these amplitudes, like those of an up-sampler."""
    pixels = np.random.default_rng([SEED, *seed]).normal(128, 25, (64, 64, 3))
    wave = np.cos(np.pi / 2 * np.arange(64))
    pixels += rows * wave[:, None, None] + columns * wave[None, :, None]
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def image_set(root: Path, *, strength: list[float], faint: list[float]) -> Path:
    """Write pictures with stripes of these amplitudes: rows in fakes, columns in real ones."""
    for split, pairs in (("train", 24), ("val", 32)):
        for number in range(pairs):
            seed = [len(split), number]
            real = picture(columns=faint[number % len(faint)], seed=seed)
            fake = picture(rows=strength[number % len(strength)], seed=seed)
            for name, data in (("0_real", real), ("1_fake", fake)):
                folder = root / split / "rows" / name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{number}.png").write_bytes(data)
    return root


@pytest.fixture
def original(tmp_path) -> Path:
    """The data set that the first checkpoint is trained on: rows are fake, faint columns are real.

    Strong columns are not in it, so the checkpoint takes them for real, however its training ends.
    """
    return image_set(tmp_path / "original", strength=[STRONG], faint=[0, FAINT])


@pytest.fixture
def untrained(tmp_path) -> Path:
    checkpoint = checkpoints.untrained(LEARNER, crops=STRIPES, seed=SEED)
    return saved(checkpoint, tmp_path / "untrained.safetensors")


@pytest.fixture
def clip(tmp_path) -> Path:
    """A small CLIP tower and a head, untrained."""
    checkpoint = checkpoints.untrained(a_clip(patch_size=8), seed=SEED)
    return saved(checkpoint, tmp_path / "clip.safetensors")


@pytest.fixture(autouse=True)
def own_choice(settings, tmp_path, monkeypatch, tiny_checkpoint):
    """Restore the detector that other tests expect after the test."""
    monkeypatch.chdir(tmp_path)  # the parent of run folders
    settings.ACTIVE_CHECKPOINT_FILE = tmp_path / "active_checkpoint"
    yield
    call_command("activate_checkpoint", "--configured")
    assert eventually(lambda: get_detector().info.version == load(tiny_checkpoint).version)


def train(*datasets: Path, start: Path, name: str, rate: float, **options) -> Path:
    """Train for two long epochs, since the first one without a mistake is stored."""
    output = Path(f"{name}.safetensors").resolve()
    call_command(
        "train_detector",
        *map(str, datasets),
        init_from=start,
        output=output,
        epochs=2,
        batch_size=8,
        learning_rate=rate,
        seed=SEED,
        device="cpu",
        **options,
    )
    return output


def activate(checkpoint: Path) -> str:
    """Activate a checkpoint; return its version, which this process uses from now on."""
    version = load(checkpoint).version
    call_command("activate_checkpoint", str(checkpoint))
    assert eventually(lambda: get_detector().info.version == version)
    return version


def predict(client, images: list[bytes]) -> list[Prediction]:
    answers = [
        client.post("/api/predict/", {"image": io.BytesIO(image)}).json() for image in images
    ]
    return [Prediction.objects.get(pk=answer["id"]) for answer in answers]


def overturn(client, predictions: list[Prediction]) -> None:
    """Overturn predictions in the admin's list, as a moderator does."""
    ids = [prediction.pk for prediction in predictions]
    seen = "".join(f"{each.pk}:{each.review_revision} " for each in predictions)
    form = {"action": "overturn", "_selected_action": ids, "revisions": seen}
    body = urlencode(form, doseq=True)
    client.post("/admin/detection/prediction/", body, "application/x-www-form-urlencoded")


def accuracy(checkpoint: Path, dataset: Path) -> float:
    """Return the accuracy on the validation split, by the checkpoint's threshold."""
    samples = scan_dataset(dataset, "val")
    verdicts = Detector.from_checkpoint(checkpoint, device="cpu").detect(s.path for s in samples)
    right = [(v.label == "FAKE") == s.label for v, s in zip(verdicts, samples, strict=True)]
    return float(np.mean(right))


@pytest.mark.django_db
def test_training_corrects_overturned_verdicts_and_forgets_no_others(
    client, moderator_client, original, untrained, tmp_path
):
    old = train(*[original] * 4, start=untrained, name="old", rate=0.01)
    old_version = activate(old)
    images = [picture(columns=STRONG, seed=[9, number]) for number in range(IMAGES)]

    predictions = dict(zip(images, predict(client, images), strict=True))
    missed = [image for image, prediction in predictions.items() if prediction.label == "REAL"]
    wrong = [predictions[image] for image in missed]
    assert len(missed) >= 5
    overturn(moderator_client, wrong)
    call_command("export_reviews", str(tmp_path / "reviews"))
    reviews = tmp_path / "reviews"
    new = train(*[original] * 3, reviews, start=old, name="new", rate=0.005, repeat_last=12)
    new_version = activate(new)
    right = predict(client, missed)

    assert {prediction.label for prediction in right} == {"FAKE"}
    before, after = accuracy(old, original), accuracy(new, original)
    print(
        f"{len(missed)} of {IMAGES} images of the new kind were missed; accuracy on the original "
        f"validation split: {before:.3f} before, {after:.3f} after"
    )
    assert before > 0.9
    assert after >= before - 0.02
    assert {prediction.model_version for prediction in right} == {new_version}
    for prediction in wrong:
        prediction.refresh_from_db()
        assert (prediction.label, prediction.label_in_force) == ("REAL", "FAKE")
        assert prediction.model_version == old_version
    training = load(new).training
    assert training["started_from"]["version"] == old_version
    assert training["datasets"] == ["original ×3", "reviews ×12"]


@pytest.mark.django_db
def test_a_checkpoint_with_kept_features_is_corrected_without_a_data_set(
    client, moderator_client, clip, tmp_path, monkeypatch
):
    monkeypatch.setattr("detection.d3.training.strategies.EPOCH_PICTURES", 256)
    # Some fakes have no visible stripes: calibration needs mistakes
    original = image_set(tmp_path / "original", strength=[STRONG, STRONG, STRONG, 0], faint=[0])
    old = train(original, start=clip, name="old", rate=0.003, adapters=4)
    elsewhere = original.rename(tmp_path / "elsewhere")
    activate(old)
    images = [picture(columns=STRONG, seed=[9, number]) for number in range(2 * IMAGES)]
    missed = [each for each in predict(client, images[:IMAGES]) if each.label == "REAL"]
    assert len(missed) >= 5
    overturn(moderator_client, missed)

    call_command("export_reviews", "reviews", val_share=0)
    new = Path("new.safetensors").resolve()
    call_command("train_detector", "reviews", init_from=old, output=new)
    activate(new)

    found = [each.label for each in predict(client, images[IMAGES:])].count("FAKE")
    assert found >= 0.8 * IMAGES
    assert accuracy(new, elsewhere) >= accuracy(old, elsewhere) - 0.02
    before, after = load(old), load(new)
    changed = {n for n, t in after.weights.items() if not torch.equal(t, before.weights[n])}
    assert changed == {name for name in after.weights if name.startswith("attention_head.")}
    assert after.version != before.version
    assert torch.equal(after.kept.train.views, before.kept.train.views)
