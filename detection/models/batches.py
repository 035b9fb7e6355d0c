"""A run over several images."""

from __future__ import annotations

from django.db import models

from detection.d3.errors import ImageError
from detection.files import clean_filename
from detection.models.choices import Source
from detection.models.ids import new_id, now, primary_key, user_key

MAX_URL_LENGTH = 2000
MAX_BATCH_ERRORS = 1000  # listed in a batch's record; all of them are counted


class PredictionBatch(models.Model):
    """A run over several images; its counts are updated while it runs."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    class Sending(models.TextChoices):
        """Whether a queued batch may get more images."""

        OPEN = "open", "More images may follow"
        COMPLETE = "complete", "All images were sent"
        BROKEN_OFF = "broken", "The sender stopped in the middle"

    batch_id = primary_key(26, default=new_id)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    total_images = models.PositiveIntegerField()
    successful = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    errors = models.JSONField(
        default=list,
        blank=True,
        help_text="One object per refused image: index, filename, error, code",
    )
    source = models.CharField(max_length=10, choices=Source)
    owner = user_key("prediction_batches")
    created_at = models.DateTimeField(default=now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)
    sending = models.CharField(
        max_length=10, choices=Sending, blank=True, help_text="Empty: its images were never queued"
    )
    threshold = models.FloatField(
        null=True, blank=True, help_text="For queued images; empty: that of the checkpoint"
    )
    all_frames = models.BooleanField(
        default=False, help_text="For queued images: judge all frames and pages, not only the first"
    )

    webhook_url = models.CharField(max_length=MAX_URL_LENGTH, blank=True)
    webhook_tries = models.PositiveIntegerField(default=0)
    webhook_due_at = models.DateTimeField(
        null=True, blank=True, help_text="Empty: not done, delivered, or given up"
    )
    webhook_delivered_at = models.DateTimeField(null=True, blank=True)
    webhook_error = models.CharField(
        max_length=200, blank=True, help_text="Why the last try failed"
    )

    class Meta:
        db_table = "prediction_batches"
        ordering = ["-batch_id"]
        verbose_name_plural = "prediction batches"
        indexes = [
            # Filters of the admin, newest first
            models.Index(fields=["status", "-batch_id"], name="batch_status"),
            models.Index(fields=["source", "-batch_id"], name="batch_source"),
            models.Index(fields=["webhook_due_at"], name="batch_webhook_due"),
        ]

    def __str__(self) -> str:
        return f"{self.batch_id} ({self.successful + self.failed} of {self.total_images})"

    def count(self, *, index: int, filename: str, error: ImageError | None) -> list[str]:
        """Count one more image; return the names of the fields that changed."""
        if error is None:
            self.successful += 1
            return ["successful"]
        self.failed += 1
        if len(self.errors) >= MAX_BATCH_ERRORS:
            return ["failed"]
        self.errors.append(
            {
                "index": index,
                "filename": clean_filename(filename),
                "error": str(error),
                "code": error.code,
            }
        )
        return ["failed", "errors"]

    def uncount(self, *, index: int, error: ImageError | None) -> None:
        """Undo ``count`` for one image."""
        if error is None:
            self.successful -= 1
        else:
            self.failed -= 1
            self.errors = [each for each in self.errors if each["index"] != index]
