"""Store made-up predictions, to test the service with many records.

They resemble a year of use: names, scores, reviews and latencies are mixed as in practice. The same
seed gives the same records. All share two small files, in a folder that no real record uses. They
have model versions of their own, by which they are found and deleted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import islice
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from PIL import Image
from ulid import ULID

from detection.d3.images import jpeg_bytes
from detection.errors import database_errors, storage_errors
from detection.judging import draw_result
from detection.models import (
    Label,
    Prediction,
    PredictionBatch,
    Source,
    Total,
    contradicts,
    first_id,
)
from detection.provenance import Claim, Provenance
from detection.records import (
    BITS,
    REGIONS,
    delete_files,
    delete_index_rows,
    totals,
    write_predictions,
)

VERSIONS = ("seeded-1", "seeded-2", "seeded-3")  # of the model, each for a third of the year
OWNERS = ("seeded-ann", "seeded-bob", "seeded-eve")
RESULT, ORIGINAL = "seeded/result.jpg", "seeded/original.jpg"
YEAR = timedelta(days=365)
STEP = 500  # records that are written at once
BATCH_EVERY, BATCH_SIZE = 20, 5
THRESHOLD, BAND = 0.56, 0.05
NAMES = (
    "IMG_{:07}.jpg",
    "DSC{:05}.JPG",
    "holiday {}.jpeg",
    "screenshot-{}.png",
    "portrait_{}.webp",
)
FAKES, DUPLICATES = 0.3, 0.05  # shares of the images
AGREEMENTS = {"": 90, Prediction.Agreement.AGREES: 9, Prediction.Agreement.CONTRADICTS: 1}
DECLARED = {"": 95, Prediction.Declares.GENERATED: 4, Prediction.Declares.EDITED: 1}
SOURCES = {Source.API: 60, Source.SCAN: 25, Source.PAGE: 15}
REVIEWS = {
    Prediction.Review.UNREVIEWED: 95,
    Prediction.Review.CONFIRMED: 4,
    Prediction.Review.OVERTURNED: 1,
}


def has_real_records() -> bool:
    """Return whether there are real predictions."""
    with database_errors():
        others = (row for row in totals.all_days() if row.model_version not in VERSIONS)
        return any(number for row in others for number in row.counts.values())


def seed_predictions(*, count: int, until: datetime, seed: int = 0) -> Iterator[int]:
    """Store ``count`` predictions of the year before ``until``; yield the number of each step.

    Raises UnavailableError; the steps that were yielded before stay stored.
    """
    _store_files()
    with database_errors():
        owners = [_owner(name) for name in OWNERS]
    made = _Builder(count=count, until=until, seed=seed, owners=owners).predictions()
    while step := list(islice(made, STEP)):
        batches = [each.batch for each in step if each.batch_index == 0]
        with database_errors(), transaction.atomic():
            PredictionBatch.objects.bulk_create(batches)
            write_predictions(step, {each.pk: _hashes(each) for each in step})
        yield len(step)


def _hashes(prediction: Prediction) -> list[int]:
    """Return random perceptual hashes, which make the picture unlike all others."""
    chance = random.Random(prediction.pk)
    return [chance.getrandbits(BITS) for _ in range(REGIONS)]


def remove_seeded() -> Iterator[int]:
    """Delete all seeded records, predictions first; yield the number of each step."""
    seeded = Prediction.objects.filter(model_version__in=VERSIONS).order_by()
    with database_errors():
        while step := list(seeded.only("pk")[:STEP]):
            delete_index_rows(step)
            Prediction.objects.filter(pk__in=[each.pk for each in step]).delete()
            yield len(step)
        Total.objects.filter(model_version__in=VERSIONS).delete()
        for owner in get_user_model().objects.filter(username__in=OWNERS):
            PredictionBatch.objects.filter(owner=owner).delete()
            owner.delete()
    delete_files([RESULT, ORIGINAL])


def _store_files() -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    result = draw_result(picture, label=Label.REAL, score=0.1, uncertain=False)
    with storage_errors():
        for key, data in ((RESULT, result), (ORIGINAL, jpeg_bytes(picture, quality=75))):
            if not default_storage.exists(key):
                default_storage.save(key, ContentFile(data))


def _owner(name: str) -> AbstractUser:
    """Return the user of this name, who cannot sign in; create the user if necessary."""
    model = get_user_model()
    owner = model.objects.filter(username=name).first()
    return owner or model.objects.create_user(username=name, is_active=False)


@cache
def _provenance(declares: str) -> dict[str, Any]:
    says = "EXIF Software says: Midjourney"
    claim = Claim("credit", says, "EXIF Software", declares=declares, generator="Midjourney")
    return Provenance((claim,) if declares else ()).as_dict()


@dataclass(slots=True)
class _Builder:
    """Builds the records, in order of time."""

    count: int
    until: datetime
    seed: int
    owners: list[AbstractUser]

    def predictions(self) -> Iterator[Prediction]:
        chance, batch = random.Random(self.seed), None
        for number in range(self.count):
            place = number % BATCH_EVERY
            moment = self._moment(number)
            if place == 0:
                batch = self._batch(moment, min(BATCH_SIZE, self.count - number), chance)
            prediction = self._prediction(number, moment, chance)
            if place < BATCH_SIZE:
                prediction.batch, prediction.batch_index = batch, place
                prediction.owner, prediction.source = batch.owner, batch.source
            yield prediction

    def _moment(self, number: int) -> datetime:
        """Return a record's time in whole milliseconds; times are spread evenly over the year."""
        milliseconds = YEAR // timedelta(milliseconds=1) * number // self.count
        return self.until - YEAR + timedelta(milliseconds=milliseconds)

    def _id(self, moment: datetime, chance: random.Random) -> str:
        return str(ULID.from_int(int(ULID.from_str(first_id(moment))) + chance.getrandbits(80)))

    def _batch(self, moment: datetime, size: int, chance: random.Random) -> PredictionBatch:
        return PredictionBatch(
            batch_id=self._id(moment, chance),
            status=PredictionBatch.Status.DONE,
            total_images=size + 1,
            successful=size,
            failed=1,
            errors=[
                {"index": size, "filename": "notes.txt", "error": "No image.", "code": "seeded"}
            ],
            source=Source.BATCH,
            owner=chance.choice(self.owners),
            created_at=moment,
            finished_at=moment + timedelta(seconds=size),
        )

    def _prediction(self, number: int, moment: datetime, chance: random.Random) -> Prediction:
        is_fake = chance.random() < FAKES
        score = chance.betavariate(8, 2) if is_fake else chance.betavariate(1.5, 8)
        [source] = chance.choices([*SOURCES], [*SOURCES.values()])
        [review] = chance.choices([*REVIEWS], [*REVIEWS.values()])
        is_reviewed = review != Prediction.Review.UNREVIEWED
        [agreement] = chance.choices([*AGREEMENTS], [*AGREEMENTS.values()])
        [declares] = chance.choices([*DECLARED], [*DECLARED.values()])
        label = Label.FAKE if score > THRESHOLD else Label.REAL
        name = chance.choice(NAMES).format(number)
        return Prediction(
            id=self._id(moment, chance),
            owner=chance.choice([None, None, *self.owners]),
            source=source,
            duplicate_of=self._id(moment, chance) if chance.random() < DUPLICATES else "",
            original_filename=name,
            result_filename=f"result_{name}.jpg",
            result_image=RESULT,
            original_image=ORIGINAL,
            sha256=chance.randbytes(32).hex(),
            size_bytes=chance.randrange(20_000, 8_000_000),
            width=4000,
            height=3000,
            image_format="JPEG",
            provenance=_provenance(declares),
            declares=declares,
            disputed=contradicts(label, declares),
            label=label,
            fake_score=score,
            threshold=THRESHOLD,
            margin=abs(score - THRESHOLD),
            uncertain=abs(score - THRESHOLD) < BAND,
            agreement=agreement,
            model_name="seeded",
            model_version=VERSIONS[number * len(VERSIONS) // self.count],
            duration_ms=round(chance.lognormvariate(5.5, 0.6)),
            created_at=moment,
            updated_at=moment,
            review_status=review,
            review_revision=int(is_reviewed),
            reviewed_at=moment + timedelta(days=1) if is_reviewed else None,
        )
