"""Judge images: from their bytes to their verdict and their record."""

from detection.judging.active_detector import (
    detector_info,
    detector_notice,
    get_detector,
    load_and_try_detector,
    load_detector,
)
from detection.judging.batcher import CallerGoneError
from detection.judging.checkpoint_choice import (
    activate,
    active_checkpoint,
    fallback_notice,
    has_fallback,
    is_activated,
    lacking_tower,
    return_to_configured,
)
from detection.judging.drawing import LABEL_COLOURS, draw_result, fitted, percentage, picture_place
from detection.judging.frames import frames_in_words
from detection.judging.heatmaps import OtherModelError, open_heatmap
from detection.judging.keepers import DirectKeeper
from detection.judging.limits import image_limits
from detection.judging.pipeline import DEFAULT_BATCH_SIZE, Job, Outcome, Run, Upload
from detection.judging.predict import Options, predict_batch, predict_image, predict_images
from detection.judging.provenance import inspect_upload, origin_fields
from detection.judging.rejudging import Rejudged, rejudge
from detection.judging.score_meaning import meaning_of
from detection.judging.scoring import finish_scoring, is_caller_gone
