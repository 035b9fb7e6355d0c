"""The environment variables, and what all other settings depend on."""

from __future__ import annotations

from pathlib import Path

import environ

from d3site.secret_key import stored_secret_key

BASE_DIR = Path(__file__).resolve().parents[2]

env = environ.Env()
env.read_env(BASE_DIR / ".env")


def env_path(name: str, default: str) -> Path:
    """Return a path from the environment. Relative paths start at the project's folder."""
    return BASE_DIR / Path(env.str(name, default) or default).expanduser()


# The folder of records, files and the secret key, in an installation without configuration
DATA_DIR = env_path("DATA_DIR", "data")
DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)

SECRET_KEY = env.str("SECRET_KEY", "")
DEBUG = env.bool("DEBUG", default=not SECRET_KEY)
if DEBUG and not SECRET_KEY:
    SECRET_KEY = stored_secret_key(DATA_DIR / "secret_key")
