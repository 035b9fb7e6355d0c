"""The database: SQLite in a file, or MongoDB."""

from __future__ import annotations

from d3site.settings.environment import DATA_DIR, env

MONGODB_URI = env.str("MONGODB_URI", "")
MIGRATION_MODULES = {"knox": None}  # AccessToken replaces its only model: it needs no tables
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
# Django's own apps that have tables
CONTRIB_APPS = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"]
if MONGODB_URI:
    DATABASES["default"] = {
        "ENGINE": "d3site.mongodb",
        "HOST": MONGODB_URI,
        "NAME": env.str("MONGODB_DATABASE", "") or "d3",
        # If the database is lost, requests get an answer within seconds. An option in the URI
        # replaces its default.
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
    # On SQLite Django's own apps number their rows; on MongoDB their ids are ObjectIds.
    MIGRATION_MODULES |= {
        app: f"d3site.mongodb.{app}_migrations" for app in ("admin", "auth", "contenttypes")
    }
    CONTRIB_APPS = [
        "d3site.mongodb.apps.MongoAdminConfig",
        "d3site.mongodb.apps.MongoAuthConfig",
        "d3site.mongodb.apps.MongoContentTypesConfig",
    ]
