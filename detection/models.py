"""The records: the verdict on one image, a run over many, and the tokens that let clients ask.

They live in SQLite and MongoDB alike: string primary keys, no transactions, no row locks. Each
primary key is the column ``_id``, so that MongoDB finds a document by the id of the API and needs
no second unique index.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone
from knox.models import AbstractAuthToken
from knox.settings import CONSTANTS
from ulid import ULID

from detection.d3.errors import ImageError
from detection.files import clean_filename, result_filename, searched_text, storage_key

MAX_URL_LENGTH = 2000
MAX_BATCH_ERRORS = 1000  # listed in a batch's record; all of them are counted
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER_LEASED = EPOCH

RECORD_ID = "[0-7][0-9A-HJKMNP-TV-Z]{25}"  # a pattern: Crockford's base 32, 128 bits
MILLISECOND = timedelta(milliseconds=1)
TIME_BITS, RANDOM_BITS = 48, 80  # of a ULID


def new_id(moment: datetime | None = None) -> str:
    """Return a ULID: 26 characters that sort by time and are safe in URLs and file names."""
    return str(ULID.from_timestamp((moment - EPOCH) // MILLISECOND) if moment else ULID())


def moment_of(record_id: str) -> datetime:
    """Return the time in a ULID, in whole milliseconds."""
    return EPOCH + ULID.from_str(record_id).milliseconds * MILLISECOND


def first_id(moment: datetime) -> str:
    """Return the lowest id of that moment: earlier ids sort before it, all others do not."""
    milliseconds = -((EPOCH - moment) // MILLISECOND)  # rounded up
    bounded = min(max(milliseconds, 0), 2**TIME_BITS - 1)
    return str(ULID.from_int(bounded << RANDOM_BITS))


def now() -> datetime:
    """Return this moment in whole milliseconds: MongoDB stores no more."""
    moment = timezone.now()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class SearchedName(models.CharField):
    """The file name as searches compare it. It follows ``original_filename`` at each write."""

    def pre_save(self, model_instance: models.Model, add: bool) -> str:  # noqa: FBT001  Django's
        name = searched_text(model_instance.original_filename)
        setattr(model_instance, self.attname, name)
        return name


def _key(max_length: int, **options: object) -> models.CharField:
    """Return a primary key; MongoDB calls each ``_id``."""
    return models.CharField(
        primary_key=True, db_column="_id", max_length=max_length, editable=False, **options
    )


class Label(models.TextChoices):
    REAL = "REAL", "Real"
    FAKE = "FAKE", "Fake"


class Source(models.TextChoices):
    API = "api", "API"
    BATCH = "batch", "Batch"
    SCAN = "scan", "Folder scan"
    PAGE = "page", "Page"
    RERUN = "rerun", "Judged again"


class PredictionBatch(models.Model):
    """A run over several images, updated while it runs."""

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

    batch_id = _key(26, default=new_id)
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
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="prediction_batches",
    )
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
        max_length=200, blank=True, help_text="Why the last try was not successful"
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

        AGREES = "agrees", "As a look-alike"
        CONTRADICTS = "contradicts", "Contradicts a look-alike"

    id = _key(26, default=new_id)
    batch = models.ForeignKey(
        PredictionBatch,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="predictions",
        db_index=False,  # an index below leads with it
    )
    batch_index = models.PositiveIntegerField(
        null=True, blank=True, help_text="Place of the image in its batch, from 0"
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="predictions",
        db_index=False,  # an index below leads with it
    )
    source = models.CharField(max_length=10, choices=Source)
    source_url = models.CharField(
        max_length=MAX_URL_LENGTH, blank=True, help_text="Where it was fetched; empty: it was sent"
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
        default=1, help_text="How many were judged; the score is the highest of them"
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
        default=False, editable=False, help_text="The model's label contradicts the file's word"
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
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="reviewed_predictions",
        db_index=False,  # no list asks for it
    )
    reviewed_at = models.DateTimeField(null=True, blank=True)
    review_note = models.TextField(blank=True, max_length=2000)
    review_revision = models.PositiveIntegerField(
        default=0, help_text="Increases with each claim and decision"
    )
    claimed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,  # no list asks for it
        help_text="The moderator who is reviewing it",
    )
    claimed_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "predictions"
        ordering = ["-id"]
        permissions = [("review_prediction", "Can review predictions")]
        # Each write pays for each index. The primary key serves lists without a filter and those
        # filtered by days. Several filters at once: one of them by its index.
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
                fields=["review_status", "-disputed", "margin", "id"], name="prediction_queue"
            ),
            # Earlier verdicts on the same bytes; the admin's search for a sha256
            models.Index(fields=["sha256", "model_version"], name="prediction_duplicate"),
            # Statistics of parts of days, totals counted anew, old records deleted
            models.Index(fields=["created_at"], name="prediction_created"),
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
    def label_in_force(self) -> str:
        """Return the reviewer's label where there is one, else the model's."""
        if self.review_status != self.Review.OVERTURNED:
            return self.label
        return Label.REAL if self.is_fake else Label.FAKE

    @property
    def is_contradicted(self) -> bool:
        """Return whether the label in force contradicts what the file says."""
        return contradicts(self.label_in_force, self.declares)

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


class PerceptualHash(models.Model):
    """A region of a predicted picture in the index of look-alikes; see
    ``detection.records.lookalikes``. Its id is that of the prediction, a dash and a number.
    """

    id = _key(28)
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


class QueuedImage(models.Model):
    """An image that is not judged yet. Its file is stored, and its prediction will have its id.

    It is deleted when its prediction is written. A refused image has a ``code``, and stays until
    its batch is closed.
    """

    id = _key(26, default=new_id)
    batch = models.ForeignKey(
        PredictionBatch,
        on_delete=models.CASCADE,
        related_name="queued_images",
        db_index=False,  # an index below leads with it
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
    error = models.TextField(blank=True, help_text="The same in a sentence")

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
        """Return when it was sent; with the id, this names all files of the image."""
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


class RefusalCount(models.Model):
    """How many images of one source were refused for one reason on one day."""

    id = _key(80)
    day = models.DateField(db_index=True)
    source = models.CharField(max_length=10, choices=Source)
    code = models.CharField(max_length=40, help_text="As in the API's errors")
    count = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "refusal_counts"

    def __str__(self) -> str:
        return f"{self.day} {self.source} {self.code}: {self.count}"


class Total(models.Model):
    """The totals of a day or of all days, for one version of the model and one owner or all.
    ``detection.records.totals`` updates it, and ``detection.statistics.usage`` reads it.
    """

    id = _key(120)
    owner = models.CharField(max_length=32, blank=True, help_text="Empty: all users")
    kind = models.CharField(max_length=8, help_text="usage, or the spread of scores and latencies")
    span = models.CharField(max_length=10, help_text="A day in UTC, as 2026-11-22, or: ever")
    model_version = models.CharField(max_length=64)
    # Numbers by name: those of usage by label, certainty and review status, and by what files
    # declare; then those of spread
    counts = models.JSONField(default=dict)
    score_sums = models.JSONField(default=dict)
    declared = models.JSONField(default=dict)
    score_bins = models.JSONField(default=dict)
    latencies = models.JSONField(default=dict)
    revision = models.PositiveBigIntegerField(default=0, help_text="Increases with each change")

    class Meta:
        db_table = "totals"
        indexes = [models.Index(fields=["span"], name="total_span")]

    def __str__(self) -> str:
        return self.pk


class AccessToken(AbstractAuthToken):
    """Lets a program use the API as a user. Only its hash is stored; deleting it revokes it."""

    digest = _key(CONSTANTS.DIGEST_LENGTH)
    name = models.CharField(max_length=100, help_text="What uses it, for example: newsroom CMS")

    class Meta:
        db_table = "access_tokens"
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name} ({self.token_key[:8]}…)"
