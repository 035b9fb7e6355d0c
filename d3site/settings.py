"""Settings. Every one comes from an environment variable or ``.env``; none of them is needed.

Without configuration the project runs embedded: SQLite and a folder of files under ``DATA_DIR``,
a secret key of its own, on this computer only. ``.env.example`` lists all variables.
"""

from __future__ import annotations

from pathlib import Path

import environ

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
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
if DEBUG and not SECRET_KEY:
    SECRET_KEY = kept_secret_key(DATA_DIR / "secret_key")

# Application
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "detection",
]

MIDDLEWARE = [
    "detection.api.middleware.json_errors",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
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

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# Records
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

# Files
STORAGES = {
    "default": {
        "BACKEND": "detection.storage.SignedFileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "files"},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
RESULT_URL_EXPIRY = env.int("RESULT_URL_EXPIRY", default=7 * 24 * 3600)  # seconds

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

# Model
MODEL_CHECKPOINT_PATH = _path("MODEL_CHECKPOINT_PATH", "checkpoints/d3-tiny.safetensors")
CLIP_WEIGHTS = env.str("CLIP_WEIGHTS", "") or None
DEVICE = env.str("DEVICE", "auto")

# Uploads
MAX_UPLOAD_BYTES = env.int("MAX_UPLOAD_BYTES", default=25 * 2**20)
MAX_IMAGE_PIXELS = env.int("MAX_IMAGE_PIXELS", default=50_000_000)

# API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "detection.api.negotiation.JsonWhenInDoubt",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "detection.api.errors.exception_handler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "D³ deepfake detection",
    "DESCRIPTION": "Send an image, learn whether it is a real photograph or made by a generator.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["detection.api.schema.canonical_endpoints"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# Logging
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {"django": {"handlers": ["console"], "level": "INFO", "propagate": False}},
}
