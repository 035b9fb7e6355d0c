"""What the API and the pages share of HTTP: uploads, limits, errors, authentication."""

from detection.web.admission import gate
from detection.web.authentication import FormAuthentication, owner_of
from detection.web.errors import (
    RETRY_AFTER_SECONDS,
    as_outage,
    envelope,
    error_page,
    error_response,
    status_sentence_code,
)
from detection.web.throttling import PredictThrottle, ReadThrottle
from detection.web.uploads import (
    admits_images,
    check_form,
    counted_images,
    counted_images_or_archive,
    has_images,
    image_or_url,
    single_image,
)
