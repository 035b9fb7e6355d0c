from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from detection.judging import activate, load_and_try_detector, return_to_configured
from detection.management.base import ServiceCommand


class Command(ServiceCommand):
    help = (
        "Makes a checkpoint the active one of all processes with this DATA_DIR. The command first "
        "loads the checkpoint and judges a picture with it. Running processes load the new "
        "checkpoint beside the old one and lose no request; records name the version that judged "
        "them."
    )
    requires_system_checks = []  # the command is the remedy for their errors

    def add_arguments(self, parser: CommandParser) -> None:
        choice = parser.add_mutually_exclusive_group(required=True)
        choice.add_argument("path", nargs="?", type=Path, help="the checkpoint's file")
        choice.add_argument(
            "--configured", action="store_true", help="return to MODEL_CHECKPOINT_PATH"
        )

    def handle(self, *args: Any, path: Path | None, configured: bool, **options: Any) -> None:
        path = Path(settings.MODEL_CHECKPOINT_PATH) if configured else path
        info = load_and_try_detector(path).info
        if configured:
            return_to_configured()
        else:
            activate(path)
        self.stdout.write(
            f"{info.name} {info.version} of {path} is active, with the threshold "
            f"{info.threshold:.3f}. Running processes load it at their next request."
        )
