"""Settings. Every one comes from an environment variable or ``.env``; none of them is needed.

Without configuration the project runs embedded: SQLite and a folder of files under ``DATA_DIR``,
a secret key of its own, on this computer only. ``.env.example`` lists all variables.
"""

from __future__ import annotations

import os
from pathlib import Path

import environ
from kombu import Exchange, Queue

from d3site.broker import beat_schedule, broker_options
from d3site.secret_key import kept_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(BASE_DIR / ".env")


def _path(name: str, default: str) -> Path:
    """A path from the environment; relative ones start at the project's folder."""
    return BASE_DIR / Path(env.str(name, default) or default).expanduser()


# Where the embedded default keeps records, files and its secret key
DATA_DIR = _path("DATA_DIR", "data")
DATA_DIR.mkdir(parents=True, exist_ok=True)

# Security
SECRET_KEY = env.str("SECRET_KEY", "")
DEBUG = env.bool("DEBUG", default=not SECRET_KEY)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_FAILURE_VIEW = "detection.pages.errors.csrf_failure"
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
if DEBUG and not SECRET_KEY:
    SECRET_KEY = kept_secret_key(DATA_DIR / "secret_key")

# Behind a TLS proxy: production answers over https only, and says so for 30 days.
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_REDIRECT_EXEMPT = [r"^health(/|$)", r"^metrics$"]  # asked for by machines beside us
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0 if DEBUG else 30 * 24 * 3600)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=not DEBUG)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=not DEBUG)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", default=not DEBUG)
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
# Proxies between the clients and us whose X-Forwarded headers are believed
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CORS_EXPOSE_HEADERS = ["Retry-After", "X-Request-ID"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],  # the S3 store, where there is one, is added below
        "style-src": ["'self'", "'unsafe-inline'"],  # Swagger UI styles its elements one by one
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
}

# Application
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "csp",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "detection",
]

MIDDLEWARE = [
    "detection.web.middleware.request_record",
    "detection.web.middleware.JsonErrors",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "detection.web.middleware.BodyLimits",
    "detection.web.middleware.throttle_logins",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "d3site.urls"
WSGI_APPLICATION = "d3site.wsgi.application"
ASGI_APPLICATION = "d3site.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "front"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# Records
MONGODB_URI = env.str("MONGODB_URI", "")
MIGRATION_MODULES = {"knox": None}  # its one model is swapped for ours; nothing to create
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "db.sqlite3",
        "OPTIONS": {
            # Writers wait for each other instead of failing with "database is locked".
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL",
        },
        "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if MONGODB_URI:
    DATABASES["default"] = {
        "ENGINE": "d3site.mongodb",
        "HOST": MONGODB_URI,
        "NAME": env.str("MONGODB_DATABASE", "") or "d3",
        # A lost database is an answer within seconds, not a thread that waits. The URI may differ.
        "OPTIONS": {
            option: milliseconds
            for option, milliseconds in (
                ("serverSelectionTimeoutMS", 5_000),
                ("connectTimeoutMS", 5_000),
                ("socketTimeoutMS", 20_000),
            )
            if f"{option}=" not in MONGODB_URI
        },
    }
    DEFAULT_AUTO_FIELD = "django_mongodb_backend.fields.ObjectIdAutoField"
    # Django's own apps count their records; there they get MongoDB's object ids instead.
    MIGRATION_MODULES |= {
        app: f"d3site.mongodb.{app}_migrations" for app in ("admin", "auth", "contenttypes")
    }
    INSTALLED_APPS[:3] = [
        "d3site.mongodb.apps.MongoAdminConfig",
        "d3site.mongodb.apps.MongoAuthConfig",
        "d3site.mongodb.apps.MongoContentTypesConfig",
    ]

# Files
STORAGES = {
    "default": {
        "BACKEND": "detection.files.storage.SignedFileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "files"},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
RESULT_URL_EXPIRY = env.int("RESULT_URL_EXPIRY", default=7 * 24 * 3600)  # seconds
MINIO_ENDPOINT = env.str("MINIO_ENDPOINT", "")
if MINIO_ENDPOINT:
    MINIO_PUBLIC_ENDPOINT = env.str("MINIO_PUBLIC_ENDPOINT", "") or MINIO_ENDPOINT
    STORAGES["default"] = {
        "BACKEND": "detection.files.storage.PresignedS3Storage",
        "OPTIONS": {
            "endpoint": MINIO_ENDPOINT,
            "public_endpoint": MINIO_PUBLIC_ENDPOINT,
            "secure": env.bool("MINIO_SECURE", default=True),
            "access_key": env.str("MINIO_ACCESS_KEY", ""),
            "secret_key": env.str("MINIO_SECRET_KEY", ""),
            "bucket_name": env.str("MINIO_BUCKET", "") or "d3-files",
        },
    }
    # Pages show pictures from the store: "host:port", or scheme and host of a URL
    host = "/".join(MINIO_PUBLIC_ENDPOINT.split("/")[: 3 if "://" in MINIO_PUBLIC_ENDPOINT else 1])
    CONTENT_SECURITY_POLICY["DIRECTIVES"]["img-src"].append(host)

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

# Model
MODEL_CHECKPOINT_PATH = _path("MODEL_CHECKPOINT_PATH", "checkpoints/d3-clip-b-16.safetensors")
# Judges where that one's CLIP tower has not been fetched; none where a checkpoint is configured
FALLBACK_CHECKPOINT = (
    None
    if os.environ.get("MODEL_CHECKPOINT_PATH")
    else BASE_DIR / "checkpoints" / "d3-tiny.safetensors"
)
ACTIVE_CHECKPOINT_FILE = DATA_DIR / "active_checkpoint"  # names another, see activate_checkpoint
CLIP_CACHE = _path("CLIP_CACHE", str(DATA_DIR / "clip"))  # towers that checkpoints share
CLIP_WEIGHTS = env.str("CLIP_WEIGHTS", "") or None
DEVICE = env.str("DEVICE", "auto")
PRECISION = env.str("PRECISION", "auto")

# Uploads
MAX_UPLOAD_BYTES = env.int("MAX_UPLOAD_BYTES", default=25 * 2**20)
MAX_IMAGE_PIXELS = env.int("MAX_IMAGE_PIXELS", default=50_000_000)
MAX_REQUEST_BYTES = env.int("MAX_REQUEST_BYTES", default=100 * 2**20)
MAX_BATCH_IMAGES = 50  # in one request
# Requests with images that are let in at a time; more are told at once to come later
MAX_WAITING_REQUESTS = env.int("MAX_WAITING_REQUESTS", default=64)
MAX_ASYNC_IMAGES = 10_000  # in one batch that waits for its turn
DATA_UPLOAD_MAX_NUMBER_FILES = MAX_ASYNC_IMAGES + 100  # room for a refusal that counts them
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100  # the admin's forms have some, the API's three
DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20  # of a request without its files
FILE_UPLOAD_HANDLERS = ["detection.web.forms.NoFiles"]  # views that take images have others

# Batches that wait for their turn: with a broker, workers judge them; without, this process does
QUEUE_LEASE_SECONDS = 60  # then another worker judges the images of one that was killed
REQUEUE_SECONDS = 30  # between two looks for images that nobody has been told of
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", "")
CELERY_BROKER_CONNECTION_TIMEOUT = 4  # a lost broker costs a request seconds, and nothing else
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = broker_options(CELERY_BROKER_URL)
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True  # the records are the truth
CELERY_TASK_DEFAULT_QUEUE = "d3-batches"
# Apart, so that neither a small batch nor the upkeep waits for a scan of a million images
CELERY_TASK_QUEUES = [
    Queue(name, Exchange(name), routing_key=name)
    for name in ("d3-batches", "d3-scans", "d3-upkeep")
]
CELERY_TASK_ROUTES = {"detection.upkeep.*": {"queue": "d3-upkeep"}}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = TIME_ZONE
PURGE_AFTER_DAYS = env.int("PURGE_AFTER_DAYS", default=0)  # 0: predictions are kept
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "celerybeat-schedule")
CELERY_BEAT_SCHEDULE = beat_schedule(requeue_seconds=REQUEUE_SECONDS, purges=PURGE_AFTER_DAYS > 0)

# Webhooks: whether they may go to addresses of our own network, and without TLS
WEBHOOK_ALLOW_PRIVATE = env.bool("WEBHOOK_ALLOW_PRIVATE", default=False)

# Cache, where requests are counted: of this process, or shared by several (redis://…)
CACHES = {"default": env.cache_url("CACHE_URL", default="locmemcache://")}
REDIS_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 1}  # seconds
if CACHES["default"]["BACKEND"].endswith("LocMemCache"):
    CACHES["default"]["OPTIONS"] = {"MAX_ENTRIES": 100_000}
if CACHES["default"]["BACKEND"].endswith("RedisCache"):
    CACHES["default"]["OPTIONS"] = REDIS_OPTIONS | CACHES["default"].get("OPTIONS", {})

# API
API_ACCESS = env.str("API_ACCESS", "open" if DEBUG else "token")
THROTTLE_PREDICT = env.str("THROTTLE_PREDICT", "" if DEBUG else "60/min")
THROTTLE_LOGIN = env.str("THROTTLE_LOGIN", "" if DEBUG else "10/min")
THROTTLE_READ = env.str("THROTTLE_READ", "" if DEBUG else "600/min")
KNOX_TOKEN_MODEL = "detection.AccessToken"
REST_KNOX = {
    "AUTH_HEADER_PREFIX": "Bearer",
    "SECURE_HASH_ALGORITHM": "hashlib.sha512",
    "TOKEN_PREFIX": "d3_",
}
REST_FRAMEWORK = {
    "URL_FORMAT_OVERRIDE": None,  # "format" is a parameter that does not exist, like any other
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "detection.web.authentication.BearerAuthentication",
        "detection.web.authentication.FormAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["detection.api.permissions.MayUseApi"],
    "DEFAULT_THROTTLE_CLASSES": ["detection.web.throttling.ReadThrottle"],
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

# Logging: one line per request and event, JSON where programs read it
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "detection.web.request_id.RequestIdFilter"},
        "with_cause": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: bool(record.exc_info),
        },
    },
    "formatters": {
        "line": {
            "format": "{asctime} {levelname} {name} [{request_id}] {message}",
            "style": "{",
        },
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "format": "{asctime}{levelname}{name}{request_id}{message}",
            "style": "{",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line" if DEBUG else "json",
            "filters": ["request_id"],
        },
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": ["console"], "level": "INFO", "propagate": False},
        # Without a cause, its lines for 4xx and 5xx would repeat those of the requests.
        "django.request": {"level": "ERROR", "filters": ["with_cause"]},
    },
}
