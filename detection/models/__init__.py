"""The tables: verdicts on images, runs over several images, queued images, totals, tokens.

They work in SQLite and MongoDB alike: they have string primary keys, and need neither transactions
nor row locks. Each primary key is the column ``_id``, so that MongoDB finds a document by the id of
the API and needs no second unique index.
"""

from detection.models.batches import MAX_BATCH_ERRORS, MAX_URL_LENGTH, PredictionBatch
from detection.models.choices import Label, Source
from detection.models.ids import EPOCH, RECORD_ID, first_id, moment_of, new_id, now
from detection.models.perceptual_hashes import PerceptualHash
from detection.models.predictions import Prediction, SearchedName, contradicts
from detection.models.queued_images import NEVER_LEASED, QueuedImage
from detection.models.tokens import DEFAULT_TOKEN_DAYS, MAX_TOKEN_DAYS, AccessToken
from detection.models.totals import RefusalCount, Total
