"""Limits on requests, and on queued images."""

from __future__ import annotations

from d3site.settings.environment import env

MAX_UPLOAD_BYTES = env.int("MAX_UPLOAD_BYTES", default=25 * 2**20)
MAX_IMAGE_PIXELS = env.int("MAX_IMAGE_PIXELS", default=64_000_000)
MAX_REQUEST_BYTES = env.int("MAX_REQUEST_BYTES", default=100 * 2**20)
MAX_BATCH_IMAGES = 50  # in one request
# Requests with images that are in the service at a time; further ones are refused at once
MAX_WAITING_REQUESTS = env.int("MAX_WAITING_REQUESTS", default=64)
MAX_ASYNC_IMAGES = 10_000  # in one queued batch
# Queued images of one owner that are not judged yet
MAX_QUEUED_IMAGES = env.int("MAX_QUEUED_IMAGES", default=20_000)
MAX_QUEUED_BYTES = env.int("MAX_QUEUED_BYTES", default=20 * 2**30)
DATA_UPLOAD_MAX_NUMBER_FILES = MAX_ASYNC_IMAGES + 100  # so that a refusal can name their number
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100  # the API's forms have 50 URLs and some options
DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20  # bytes of a request without its files
# Whether callers may name the URL of an image instead of sending it
ALLOW_IMAGE_URLS = env.bool("ALLOW_IMAGE_URLS", default=False)
# For development: whether these URLs may have private addresses, any port, and no TLS
IMAGE_URL_ALLOW_PRIVATE = env.bool("IMAGE_URL_ALLOW_PRIVATE", default=False)
FILE_UPLOAD_HANDLERS = ["detection.web.form_limits.NoFiles"]  # views that accept images replace it
