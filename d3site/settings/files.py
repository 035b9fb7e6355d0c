"""Stored images, in a folder or an S3 store, and static files."""

from __future__ import annotations

from d3site.settings.environment import DATA_DIR, env

STORAGES = {
    "default": {
        "BACKEND": "detection.files.storage.SignedFileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "files"},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
RESULT_URL_EXPIRY = env.int("RESULT_URL_EXPIRY", default=7 * 24 * 3600)  # seconds
MINIO_ENDPOINT = env.str("MINIO_ENDPOINT", "")
PICTURE_HOSTS: list[str] = []  # from which pages show pictures, beside this service
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
    # "host:port", or scheme and host of a URL
    parts = 3 if "://" in MINIO_PUBLIC_ENDPOINT else 1
    PICTURE_HOSTS.append("/".join(MINIO_PUBLIC_ENDPOINT.split("/")[:parts]))

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
