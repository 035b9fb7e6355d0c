"""The index of look-alikes."""

from __future__ import annotations

from django.db import models

from detection.models.ids import primary_key


class PerceptualHash(models.Model):
    """A region of a predicted picture in the index of look-alikes; see
    ``detection.records.lookalikes``. Its id is that of the prediction, a dash and a number.
    """

    id = primary_key(28)
    bits = models.CharField(max_length=64, help_text="256 bits, hexadecimal")
    # The lowest frequencies, 26 bits each
    band_0 = models.PositiveIntegerField(db_index=True)
    band_1 = models.PositiveIntegerField(db_index=True)
    band_2 = models.PositiveIntegerField(db_index=True)
    band_3 = models.PositiveIntegerField(db_index=True)

    class Meta:
        db_table = "perceptual_hashes"
        verbose_name_plural = "perceptual hashes"

    def __str__(self) -> str:
        return f"{self.pk}: {self.bits}"
