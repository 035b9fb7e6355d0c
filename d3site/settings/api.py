"""Requests: who may send them, how often, and the API's framework."""

from __future__ import annotations

from d3site.settings.environment import DEBUG, env
from d3site.settings.security import TRUSTED_PROXIES

# The cache that counts requests: in this process, or shared by several processes (redis://…)
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
    "URL_FORMAT_OVERRIDE": None,  # otherwise the parameter "format" would have a meaning
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
