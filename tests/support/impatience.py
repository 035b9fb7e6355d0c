"""Short time-outs for services that tests start: seconds instead of half a minute."""

from __future__ import annotations

from botocore.config import Config
from django.apps import AppConfig


class Impatience(AppConfig):
    name = "tests"

    def ready(self) -> None:
        from detection.files import storage
        from detection.records import undoing

        storage.S3_CONFIG = storage.S3_CONFIG.merge(Config(read_timeout=2))
        undoing.SECOND_LOOK_SECONDS = 6.0
