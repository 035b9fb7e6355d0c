"""Images that are not judged yet."""

from __future__ import annotations

from datetime import datetime

from django.db import models

from detection.files import result_filename, storage_key
from detection.models.batches import MAX_URL_LENGTH, PredictionBatch
from detection.models.ids import EPOCH, moment_of, new_id, primary_key

NEVER_LEASED = EPOCH


class QueuedImage(models.Model):
    """An image that is not judged yet. Its file is stored, and its prediction will have its id.

    It is deleted when its prediction is written. A refused image has a ``code``, and stays until
    its batch is closed.
    """

    id = primary_key(26, default=new_id)
    batch = models.ForeignKey(
        PredictionBatch,
        on_delete=models.CASCADE,
        related_name="queued_images",
        db_index=False,  # an index below begins with this field
    )
    batch_index = models.PositiveIntegerField(help_text="Place of the image in its batch, from 0")
    filename = models.CharField(max_length=255)
    source_url = models.CharField(max_length=MAX_URL_LENGTH, blank=True)
    original_image = models.FileField(max_length=255, blank=True)
    size_bytes = models.PositiveBigIntegerField(default=0, help_text="Of the stored file")
    quota = models.CharField(
        max_length=32, blank=True, help_text="Whose quota it counts for; empty: no quota"
    )
    leased_by = models.CharField(
        max_length=26, blank=True, help_text="The lease of the worker that is judging it"
    )
    leased_until = models.DateTimeField(
        default=NEVER_LEASED, help_text="Then another worker may judge it"
    )
    tries = models.PositiveSmallIntegerField(default=0, help_text="How often it was leased")
    code = models.CharField(max_length=40, blank=True, help_text="Why it was refused")
    error = models.TextField(blank=True, help_text="Why it was refused, in a sentence")

    class Meta:
        db_table = "queued_images"
        indexes = [
            models.Index(fields=["batch", "code", "batch_index"], name="queued_batch"),
            models.Index(fields=["code", "leased_until"], name="queued_lease"),
            models.Index(fields=["quota", "size_bytes"], name="queued_quota"),
        ]

    def __str__(self) -> str:
        return f"{self.filename}: {self.error or 'waiting'}"

    @property
    def moment(self) -> datetime:
        """Return when the image was sent; with the id, this moment names all its files."""
        return moment_of(self.pk)

    @property
    def result_filename(self) -> str:
        return result_filename(original=self.filename, moment=self.moment)

    @property
    def result_key(self) -> str:
        return self.key("results", self.result_filename)

    @property
    def file_keys(self) -> list[str]:
        """Return the storage keys of all files that are, or may be, stored."""
        return [self.original_image.name, self.result_key] if self.original_image else []

    def key(self, folder: str, filename: str) -> str:
        return storage_key(folder=folder, record_id=self.pk, moment=self.moment, filename=filename)
