"""The pictures in ``docs/``, taken of the real pages: ``make screenshots``.

The dashboard shows made-up records, since a new installation has none. Copies of the samples
declare made-up origins.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page

from detection.d3.checkpoints.tower_file import default_cache
from tests.support.browser import chromium, opened_page
from tests.support.installation import ROOT, Installation

SAMPLES = ROOT / "samples"
CAT, COLOSSEUM = SAMPLES / "generated-cat-z-image.jpg", SAMPLES / "photo-roman-colosseum.jpg"
PARAMETERS = (
    "a cat on a sofa, soft light\nSteps: 9, Sampler: Euler a, CFG scale: 1, Seed: 42, "
    "Size: 1024x1024, Model: z-image-turbo, Version: v1.10.1"
)
JOB = "the Colosseum at noon --v 7 Job ID: 0a1b2c3d-0000-4000-8000-0123456789ab"
PASSWORD = "only for pictures"
REVIEW = """
from django.contrib.auth import get_user_model
from detection.models import Prediction
from detection.review import decide

for record in Prediction.objects.all():
    alice = get_user_model().objects.get()
    decide(
        prediction=record, status="confirmed", reviewer=alice, revision=record.review_revision
    )
"""
SEED = """
from datetime import timedelta
from random import Random
from detection.models import now
from tests.support.factories import store_predictions, unsaved_prediction

random, moment, records = Random(0), now(), []
for _ in range(4000):
    is_fake = random.random() < 0.4
    score = random.betavariate(*((5, 1.2) if is_fake else (1.2, 5)))
    record = unsaved_prediction(
        fake_score=score,
        threshold=0.56,
        uncertain=0.42 < score < 0.7,
        created_at=moment - timedelta(minutes=random.randrange(30 * 24 * 60)),
        duration_ms=round(random.lognormvariate(4, 0.6)),
        model_version="e36a1815af53af6a",
    )
    record.label = "FAKE" if score > 0.56 else "REAL"
    record.margin = abs(score - 0.56)
    if random.random() < 0.15 or record.uncertain:
        record.review_status = "confirmed" if (score > 0.56) == is_fake else "overturned"
    records.append(record)
store_predictions(records)
"""


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="d3-screenshots-") as made:
        installation = installed(Path(made) / "data")
        cat, colosseum, copy = marked_copies(Path(made))
        with installation.served() as service, opened_page() as page:
            page.set_viewport_size({"width": 1280, "height": 900})
            judge(page, service.url, cat, COLOSSEUM)
            page.screenshot(path=folder / "front-page.png")
            card = page.locator(".card").first
            card.locator("summary").click()
            card.screenshot(path=folder / "provenance.png")
            judge(page, service.url, copy, colosseum)
            sign_in(page, service.url)
            page.goto(f"{service.url}/admin/review/", wait_until="networkidle")
            page.screenshot(path=folder / "review.png")
            _run(installation, "shell", "-c", SEED)
            page.goto(f"{service.url}/admin/dashboard/", wait_until="networkidle")
            page.wait_for_timeout(1000)  # until the charts are drawn
            page.screenshot(path=folder / "dashboard.png")


def installed(data: Path) -> Installation:
    """Return an installation with the samples, all of them reviewed."""
    installation = Installation(
        data,
        ROOT / "checkpoints" / "d3-clip-b-16.safetensors",
        CLIP_CACHE=str(default_cache()),
        DJANGO_SUPERUSER_USERNAME="alice",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
        DJANGO_SUPERUSER_EMAIL="alice@example.org",
    )
    for command in (
        ["migrate", "--verbosity", "0"],
        ["createsuperuser", "--noinput"],
        ["scan_folder", SAMPLES],
        ["shell", "-c", REVIEW],
    ):
        _run(installation, *command)
    return installation


def marked_copies(folder: Path) -> tuple[Path, Path, Path]:
    """Return a generated picture whose file says so, a photograph whose file says the same, and a
    smaller copy of the photograph.
    """
    cat, colosseum, copy = (folder / name for name in ("cat.png", "rome.png", "holiday.jpg"))
    _save_marked(CAT, cat, "parameters", PARAMETERS)
    _save_marked(COLOSSEUM, colosseum, "Description", JOB)
    with Image.open(COLOSSEUM) as picture:
        picture.reduce(2).save(copy, quality=70)
    return cat, colosseum, copy


def _save_marked(sample: Path, path: Path, key: str, text: str) -> None:
    marks = PngInfo()
    marks.add_text(key, text)
    with Image.open(sample) as picture:
        picture.convert("RGB").save(path, pnginfo=marks)


def _run(installation: Installation, *command: str | Path) -> None:
    code, _, complaints = installation.run(*command)
    if code:
        raise SystemExit(complaints)


def judge(page: Page, url: str, *pictures: Path) -> None:
    page.goto(url)
    page.locator('input[type="file"]').set_input_files(pictures)
    page.wait_for_load_state("networkidle")


def sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/admin/login/")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    finally:
        chromium.close()
