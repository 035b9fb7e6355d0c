"""Requests: what they may contain, who may send them, how often, and the API's framework."""

from __future__ import annotations

from d3site.settings.environment import DEBUG, env
from d3site.settings.security import TRUSTED_PROXIES

# Uploads
MAX_UPLOAD_BYTES = env.int("MAX_UPLOAD_BYTES", default=25 * 2**20)
MAX_IMAGE_PIXELS = env.int("MAX_IMAGE_PIXELS", default=64_000_000)
MAX_REQUEST_BYTES = env.int("MAX_REQUEST_BYTES", default=100 * 2**20)
MAX_BATCH_IMAGES = 50  # in one request
# Requests with images that are admitted at a time; further ones are refused at once
MAX_WAITING_REQUESTS = env.int("MAX_WAITING_REQUESTS", default=64)
MAX_ASYNC_IMAGES = 10_000  # in one queued batch
# Queued images of one owner that are not judged yet
MAX_QUEUED_IMAGES = env.int("MAX_QUEUED_IMAGES", default=20_000)
MAX_QUEUED_BYTES = env.int("MAX_QUEUED_BYTES", default=20 * 2**30)
DATA_UPLOAD_MAX_NUMBER_FILES = MAX_ASYNC_IMAGES + 100  # room for a refusal that counts them
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100  # the API's forms have 50 URLs and some options
DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20  # of a request without its files
# Whether callers may name the URL of an image instead of sending it
ALLOW_IMAGE_URLS = env.bool("ALLOW_IMAGE_URLS", default=False)
# For development: whether these may be private addresses, other ports, and without TLS
IMAGE_URL_ALLOW_PRIVATE = env.bool("IMAGE_URL_ALLOW_PRIVATE", default=False)
FILE_UPLOAD_HANDLERS = ["detection.web.forms.NoFiles"]  # views that take images have others

# The cache that counts requests: of this process, or shared by several (redis://…)
CACHES = {"default": env.cache_url("CACHE_URL", default="locmemcache://")}
REDIS_OPTIONS = {
    "serializer": "d3site.json_cache.JsonSerializer",
    "socket_connect_timeout": 1,  # seconds
    "socket_timeout": 1,
}
if CACHES["default"]["BACKEND"].endswith("LocMemCache"):
    CACHES["default"]["OPTIONS"] = {"MAX_ENTRIES": 100_000}
if CACHES["default"]["BACKEND"].endswith("RedisCache"):
    CACHES["default"]["OPTIONS"] = REDIS_OPTIONS | CACHES["default"].get("OPTIONS", {})

# Access
API_ACCESS = env.str("API_ACCESS", "open" if DEBUG else "token")
THROTTLE_READ = env.str("THROTTLE_READ", "" if DEBUG else "600/min")
KNOX_TOKEN_MODEL = "detection.AccessToken"
REST_KNOX = {
    "AUTH_HEADER_PREFIX": "Bearer",
    "SECURE_HASH_ALGORITHM": "hashlib.sha512",
    "TOKEN_PREFIX": "d3_",
}
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "front"

REST_FRAMEWORK = {
    "URL_FORMAT_OVERRIDE": None,  # "format" is a parameter that does not exist, like any other
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "detection.web.authentication.BearerAuthentication",
        "detection.web.authentication.FormAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["detection.api.permissions.MayUseApi"],
    "DEFAULT_THROTTLE_CLASSES": ["detection.web.throttling.ReadThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "predict": env.str("THROTTLE_PREDICT", "" if DEBUG else "60/min"),
        "image_url": env.str("THROTTLE_IMAGE_URL", "" if DEBUG else "30/min"),
        "read": THROTTLE_READ,
        "form": THROTTLE_READ,
        "login": env.str("THROTTLE_LOGIN", "" if DEBUG else "10/min"),
    },
    "NUM_PROXIES": TRUSTED_PROXIES,
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "detection.api.negotiation.JsonWhenInDoubt",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "detection.web.errors.exception_handler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "D³ deepfake detection",
    "DESCRIPTION": "Send an image, learn whether it is a real photograph or made by a generator.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["detection.api.schema.canonical_endpoints"],
    "ENUM_NAME_OVERRIDES": {
        "BatchStatusEnum": "detection.models.PredictionBatch.Status",
        "ReviewStatusEnum": "detection.models.Prediction.Review",
        "HealthStatusEnum": ["ok", "degraded", "unavailable"],
        "LiveStatusEnum": ["ok"],
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
