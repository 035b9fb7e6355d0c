"""The verdict on one image."""

from __future__ import annotations

from django.db import models

from detection.files import searched_text, storage_key
from detection.models.batches import MAX_URL_LENGTH, PredictionBatch
from detection.models.choices import Label, Source
from detection.models.ids import new_id, now, primary_key, user_key


class SearchedName(models.CharField):
    """The file name as searches compare it, set from ``original_filename`` at each write."""

    def pre_save(self, model_instance: models.Model, add: bool) -> str:  # noqa: FBT001  Django's
        name = searched_text(model_instance.original_filename)
        setattr(model_instance, self.attname, name)
        return name


class Prediction(models.Model):
    """The verdict on one image, with its files and the decision of a reviewer."""

    class Review(models.TextChoices):
        UNREVIEWED = "unreviewed", "Unreviewed"
        CONFIRMED = "confirmed", "Confirmed"
        OVERTURNED = "overturned", "Overturned"

    class Declares(models.TextChoices):
        """What the file says of its own origin, as in ``detection.provenance``."""

        GENERATED = "generated", "Generated"
        EDITED = "edited", "Edited with generated parts"
        CAPTURED = "captured", "Taken with a camera"

    class Reason(models.TextChoices):
        """Why no verdict on an image is certain, whatever its score."""

        TOO_SMALL = "too_small", "Too small"
        NO_CONTENT = "no_content", "Nothing to see"

    class Agreement(models.TextChoices):
        """Whether the model gave a similar picture the same label."""

        AGREES = "agrees", "Agrees with a look-alike"
        CONTRADICTS = "contradicts", "Contradicts a look-alike"

    id = primary_key(26, default=new_id)
    batch = models.ForeignKey(
        PredictionBatch,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="predictions",
        db_index=False,  # an index below begins with this field
    )
    batch_index = models.PositiveIntegerField(
        null=True, blank=True, help_text="Place of the image in its batch, from 0"
    )
    owner = user_key("predictions", db_index=False)  # an index below begins with this field
    source = models.CharField(max_length=10, choices=Source)
    source_url = models.CharField(
        max_length=MAX_URL_LENGTH,
        blank=True,
        help_text="URL that the image was fetched from; empty: the image was sent",
    )
    duplicate_of = models.CharField(
        max_length=26,
        blank=True,
        help_text="An earlier prediction on the same bytes, whose score was used again",
    )

    original_filename = models.CharField(max_length=255)
    searched_name = SearchedName(max_length=765, editable=False)  # folding triples some letters
    result_filename = models.CharField(max_length=255)
    result_image = models.FileField(max_length=255)
    original_image = models.FileField(max_length=255, blank=True)
    heatmap_image = models.FileField(max_length=255, blank=True)

    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveBigIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    image_format = models.CharField(max_length=10)
    damaged = models.BooleanField(
        default=False, help_text="Up to 1 % of the pixels are not in the file"
    )
    frames = models.PositiveIntegerField(
        default=1, help_text="Frames of the animation, or pages of the document"
    )
    frame = models.PositiveIntegerField(
        default=1, help_text="The frame or page with this score, from 1"
    )
    judged_frames = models.PositiveSmallIntegerField(
        default=1, help_text="How many frames or pages were judged; the score is their highest"
    )
    camera = models.CharField(max_length=100, blank=True, help_text="From the metadata of the file")
    software = models.CharField(
        max_length=100, blank=True, help_text="From the metadata of the file"
    )

    provenance = models.JSONField(
        default=dict, blank=True, help_text="Claims of the file; empty: never inspected"
    )
    declares = models.CharField(
        max_length=10, choices=Declares, blank=True, help_text="What the file says of its origin"
    )
    disputed = models.BooleanField(
        default=False,
        editable=False,
        help_text="The model's label contradicts what the file says of its origin",
    )

    label = models.CharField(max_length=4, choices=Label)
    fake_score = models.FloatField(help_text="0 is surely real, 1 is surely fake")
    threshold = models.FloatField(help_text="Above this score, the label is FAKE")
    margin = models.FloatField(
        editable=False, help_text="Distance of the score from the threshold: 0 is least certain"
    )
    uncertain = models.BooleanField()
    reason = models.CharField(
        max_length=10, choices=Reason, blank=True, help_text="Why the image cannot be judged"
    )
    agreement = models.CharField(
        max_length=11,
        choices=Agreement,
        blank=True,
        help_text="Empty: this model had not judged a similar picture before",
    )
    model_name = models.CharField(max_length=100)
    model_version = models.CharField(max_length=64)
    duration_ms = models.PositiveIntegerField(help_text="Decoding and detection, in milliseconds")
    created_at = models.DateTimeField(default=now, editable=False)
    updated_at = models.DateTimeField(
        default=now, editable=False, help_text="When it was judged, or when a reviewer changed it"
    )

    review_status = models.CharField(max_length=10, choices=Review, default=Review.UNREVIEWED)
    reviewer = user_key("reviewed_predictions", db_index=False)  # no list is filtered by it
    reviewed_at = models.DateTimeField(null=True, blank=True)
    review_note = models.TextField(blank=True, max_length=2000)
    review_revision = models.PositiveIntegerField(
        default=0, help_text="Increases with each claim and decision"
    )
    claimed_by = user_key(
        "+",
        db_index=False,  # no list is filtered by it
        help_text="The moderator who is reviewing it",
    )
    claimed_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "predictions"
        ordering = ["-id"]
        permissions = [("review_prediction", "Can review predictions")]
        # Each index slows down each write. The primary key serves lists without a filter and lists
        # of some days. Where several filters are set, the index of one of them is used.
        indexes = [
            # Filters of lists, newest first: of the API and the pages, of the admin
            models.Index(fields=["owner", "-id"], name="prediction_owner"),
            models.Index(fields=["label", "-id"], name="prediction_label"),
            models.Index(fields=["review_status", "-id"], name="prediction_review"),
            models.Index(fields=["uncertain", "-id"], name="prediction_uncertain"),
            models.Index(fields=["batch", "-id"], name="prediction_batch"),
            models.Index(fields=["source", "-id"], name="prediction_source"),
            models.Index(fields=["model_version", "-id"], name="prediction_model"),
            models.Index(fields=["declares", "-id"], name="prediction_declares"),
            models.Index(fields=["-id", "fake_score"], name="prediction_score"),
            # How often the model contradicts itself, for the dashboard
            models.Index(fields=["agreement", "-id"], name="prediction_agreement"),
            # The images of a batch, in their order
            models.Index(fields=["batch", "batch_index"], name="prediction_batch_index"),
            # The review queue: disputed ones first, then the least certain
            models.Index(
                fields=["review_status", "reason", "-disputed", "margin", "id"],
                name="prediction_queue",
            ),
            # Other verdicts on the same bytes, newest first; the earlier one of the same model
            models.Index(fields=["sha256", "-id", "model_version"], name="prediction_duplicate"),
            # Statistics of parts of days, counting the totals again, deleting old records
            models.Index(fields=["created_at"], name="prediction_created"),
            models.Index(fields=["owner", "created_at"], name="prediction_owner_created"),
        ]

    def __str__(self) -> str:
        return f"{self.original_filename}: {self.label} {self.confidence:.0%}"

    @property
    def is_fake(self) -> bool:
        return self.label == Label.FAKE

    @property
    def real_score(self) -> float:
        return 1 - self.fake_score

    @property
    def confidence(self) -> float:
        """Return the score of the label given, 0 to 1."""
        return self.fake_score if self.is_fake else self.real_score

    @property
    def is_reviewed(self) -> bool:
        return self.review_status != self.Review.UNREVIEWED

    @property
    def is_overturned(self) -> bool:
        return self.review_status == self.Review.OVERTURNED

    @property
    def label_in_force(self) -> str:
        """Return the reviewer's label where there is one, else the model's."""
        if not self.is_overturned:
            return self.label
        return Label.REAL if self.is_fake else Label.FAKE

    @property
    def is_contradicted(self) -> bool:
        """Return whether the label in force contradicts what the file says."""
        return contradicts(self.label_in_force, self.declares)

    def key(self, folder: str, filename: str) -> str:
        return storage_key(
            folder=folder, record_id=self.pk, moment=self.created_at, filename=filename
        )

    @property
    def file_keys(self) -> list[str]:
        """Return the storage keys of all files of this record."""
        files = (self.result_image, self.original_image, self.heatmap_image)
        return [file.name for file in files if file]


def contradicts(label: str, declares: str) -> bool:
    """Return whether a label contradicts what the file says. A file with generated parts
    contradicts neither label.
    """
    return (label, declares) in (
        (Label.REAL, Prediction.Declares.GENERATED),
        (Label.FAKE, Prediction.Declares.CAPTURED),
    )
