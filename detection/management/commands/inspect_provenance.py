from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import CommandError

from detection.management.base import SOME_LOST, ServiceCommand
from detection.models import Prediction
from detection.upkeep import count_uninspected, inspect_records


class Command(ServiceCommand):
    help = (
        "Reads what the originals of old records say of their origin. Newer records have this "
        "already, since the service now reads it with each image. The service may run meanwhile. "
        "Exit code: 0 when all were read, 2 when some originals are lost, 1 after any other error."
    )
    interrupted = "Interrupted; the same command inspects the rest."
    requires_migrations_checks = True

    def handle(self, *args: Any, **options: Any) -> None:
        declared: Counter[str] = Counter()
        inspected = lost = 0
        with self.progress_bar(total=count_uninspected(), unit="record", leave=False) as bar:
            for each in inspect_records():
                inspected += not each.problem
                lost += bool(each.problem)
                declared[each.declares] += 1
                if each.problem:
                    self.stderr.write(each.problem)
                bar.update()
        figures = ", ".join(f"{declared[name]} {name}" for name in Prediction.Declares.values)
        self.stdout.write(f"{inspected} records were inspected: {figures}.")
        if lost:
            raise CommandError(f"{lost} originals are lost.", returncode=SOME_LOST)
