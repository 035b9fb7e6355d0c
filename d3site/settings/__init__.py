"""Settings. Each has a default, and an environment variable or a line of ``.env`` that changes it.

Without configuration the project runs embedded: SQLite and a folder of files under ``DATA_DIR``,
a secret key of its own, on this computer only. ``.env.example`` lists all variables.
"""

from __future__ import annotations

from d3site.settings.api import *
from d3site.settings.environment import *
from d3site.settings.files import *
from d3site.settings.limits import *
from d3site.settings.logging import *
from d3site.settings.model import *
from d3site.settings.queue import *
from d3site.settings.records import *
from d3site.settings.security import *

INSTALLED_APPS = [
    *CONTRIB_APPS,
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
    "detection.web.request_log.request_record",
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

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
