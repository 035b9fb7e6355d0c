"""The project's settings with all data in a temporary folder.

With TEST_PAIR=mongodb-s3 in the environment, records are in a MongoDB wire server and files in an
S3 server, which this module starts. Otherwise records are in SQLite and files in a folder.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path

from tests.support.servers import MongoServer, S3Server

FOLDER = tempfile.TemporaryDirectory(prefix="d3-tests-")

os.environ.update(
    DATA_DIR=FOLDER.name,
    SECRET_KEY="only for tests, so that links are signed with a known key",
    DEBUG="false",
    ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
    SECURE_SSL_REDIRECT="false",
    API_ACCESS="open",
    THROTTLE_PREDICT="",
    THROTTLE_IMAGE_URL="",
    THROTTLE_READ="",
    CACHE_URL="locmemcache://",
    ALLOW_IMAGE_URLS="false",
    IMAGE_URL_ALLOW_PRIVATE="false",
    WEBHOOK_ALLOW_PRIVATE="false",
    MODEL_CHECKPOINT_PATH=str(Path(FOLDER.name) / "tiny.safetensors"),
    CLIP_WEIGHTS="",
    DEVICE="cpu",
    PRECISION="fp32",
    MONGODB_URI="",
    MONGODB_DATABASE="",
    MINIO_ENDPOINT="",
    CELERY_BROKER_URL="",
    PURGE_AFTER_DAYS="0",
)

MONGO = MongoServer(Path(FOLDER.name) / "mongo")
S3 = S3Server(Path(FOLDER.name) / "s3")
ON_SERVERS = os.environ.get("TEST_PAIR") == "mongodb-s3"
if ON_SERVERS:
    for server in (MONGO, S3):
        atexit.register(server.stop)
        server.start()
    os.environ.update(
        MONGODB_URI=MONGO.uri,
        MINIO_ENDPOINT=S3.address,
        MINIO_ACCESS_KEY=S3.access_key,
        MINIO_SECRET_KEY=S3.secret_key,
        MINIO_BUCKET="tests",
        MINIO_PUBLIC_ENDPOINT="",
        MINIO_SECURE="false",
    )

from d3site.settings import *  # noqa: E402, F403
from d3site.settings import DATABASES  # noqa: E402

# The default hasher is slow on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if ON_SERVERS:
    DATABASES["default"]["OPTIONS"]["serverSelectionTimeoutMS"] = 1000
