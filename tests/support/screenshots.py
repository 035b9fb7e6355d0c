"""The pictures in ``docs/``, taken of the real pages: ``make screenshots``.

The figures of the dashboard are of made-up records, since a new installation has none.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from detection.d3.checkpoints.tower_file import default_cache
from tests.support.browser import chromium, opened_page
from tests.support.installation import ROOT, Installation

SHOWN = [
    ROOT / "samples" / f"{name}.jpg" for name in ("generated-cat-z-image", "photo-roman-colosseum")
]
PASSWORD = "only for pictures"
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
    with tempfile.TemporaryDirectory(prefix="d3-screenshots-") as data:
        installation = Installation(
            Path(data),
            ROOT / "checkpoints" / "d3-clip-b-16.safetensors",
            CLIP_CACHE=str(default_cache()),
            DJANGO_SUPERUSER_USERNAME="alice",
            DJANGO_SUPERUSER_PASSWORD=PASSWORD,
            DJANGO_SUPERUSER_EMAIL="alice@example.org",
        )
        for command in (
            ["migrate", "--verbosity", "0"],
            ["createsuperuser", "--noinput"],
            ["scan_folder", "samples"],
        ):
            _run(installation, *command)
        with installation.served() as service, opened_page() as page:
            page.set_viewport_size({"width": 1280, "height": 900})
            _front_page(page, service.url)
            page.screenshot(path=folder / "front-page.png")
            _sign_in(page, service.url)
            page.goto(f"{service.url}/admin/review/", wait_until="networkidle")
            page.screenshot(path=folder / "review.png")
            _run(installation, "shell", "-c", SEED)
            page.goto(f"{service.url}/admin/dashboard/", wait_until="networkidle")
            page.wait_for_timeout(1000)  # the charts are drawn with a movement
            page.screenshot(path=folder / "dashboard.png")


def _run(installation: Installation, *command: str) -> None:
    code, _, complaints = installation.run(*command)
    if code:
        raise SystemExit(complaints)


def _front_page(page: Page, url: str) -> None:
    page.goto(url)
    page.locator('input[type="file"]').set_input_files(SHOWN)
    page.wait_for_load_state("networkidle")


def _sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/admin/login/")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    finally:
        chromium.close()
