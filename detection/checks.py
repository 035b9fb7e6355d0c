"""System checks: they find errors of configuration at the start, not at the first request."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured

from detection.d3.checkpoints import missing_tower_error
from detection.d3.errors import CheckpointError
from detection.d3.files import reason
from detection.judging import (
    active_checkpoint,
    fallback_notice,
    has_fallback,
    is_activated,
    lacking_tower,
)

WEEK_SECONDS = 7 * 24 * 3600


@register()
def check_model_checkpoint(**kwargs) -> Iterator[CheckMessage]:
    """Check that the file of the active checkpoint exists and begins like a checkpoint."""
    problem = _checkpoint_problem()
    if problem is None:
        yield from _fallback_warnings()
        return
    hint = "Set MODEL_CHECKPOINT_PATH to a detector checkpoint."
    if is_activated():
        problem = f"The activated checkpoint cannot be used. {problem}"
        hint = (
            "Activate another with manage.py activate_checkpoint PATH, or return to "
            "MODEL_CHECKPOINT_PATH with manage.py activate_checkpoint --configured."
        )
    yield Error(problem, hint=hint, id="detection.E001")


@register()
def check_production(**kwargs) -> Iterator[CheckMessage]:
    """Check settings that have no safe default in production."""
    if settings.DEBUG:
        return
    try:
        settings.SECRET_KEY  # noqa: B018  reading an empty one raises
    except ImproperlyConfigured:
        hint = "Set SECRET_KEY to a long random string."
        yield Error("DEBUG is off and there is no SECRET_KEY.", hint=hint, id="detection.E004")
    if not settings.ALLOWED_HOSTS:
        problem = "DEBUG is off and ALLOWED_HOSTS is empty: every request would be refused."
        hint = "Set ALLOWED_HOSTS to the host names that clients use, comma-separated."
        yield Error(problem, hint=hint, id="detection.E005")


@register()
def check_api(**kwargs) -> Iterator[CheckMessage]:
    """Check API_ACCESS and the rates of the throttles."""
    if settings.API_ACCESS not in ("open", "token"):
        hint = "Set API_ACCESS to open or token."
        yield Error(f"API_ACCESS is {settings.API_ACCESS!r}.", hint=hint, id="detection.E006")
    rates = settings.REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]
    for scope in ("predict", "image_url", "read", "login"):
        if not re.fullmatch(r"(\d+/(s|sec|m|min|h|hour|d|day))?", rates[scope]):
            problem = f"THROTTLE_{scope.upper()} is {rates[scope]!r}, which is no rate."
            hint = "Set it to a rate like 60/min, or leave it empty for no limit."
            yield Error(problem, hint=hint, id="detection.E007")


@register()
def check_files(**kwargs) -> Iterator[CheckMessage]:
    """Check the keys of an S3 store and the expiry of links, which is a week at most with S3."""
    options = settings.STORAGES["default"]["OPTIONS"]
    on_s3 = "endpoint" in options
    if on_s3 and not (options["access_key"] and options["secret_key"]):
        hint = "Set MINIO_ACCESS_KEY and MINIO_SECRET_KEY."
        yield Error("MINIO_ENDPOINT is set without its keys.", hint=hint, id="detection.E008")
    expiry = settings.RESULT_URL_EXPIRY
    if expiry <= 0 or (on_s3 and expiry > WEEK_SECONDS):
        hint = "Set RESULT_URL_EXPIRY to a positive number of seconds"
        hint += f", {WEEK_SECONDS} at most with an S3 store." if on_s3 else "."
        yield Error(f"RESULT_URL_EXPIRY is {expiry}.", hint=hint, id="detection.E009")


@register(Tags.security, deploy=True)
def check_open_access(**kwargs) -> Iterator[CheckMessage]:
    if settings.API_ACCESS == "open":
        hint = "Set API_ACCESS=token, unless a proxy decides who may use this service."
        problem = "Anyone may use the API and see all predictions."
        yield Warning(problem, hint=hint, id="detection.W001")


@register(Tags.security, deploy=True)
def check_image_urls(**kwargs) -> Iterator[CheckMessage]:
    if settings.ALLOW_IMAGE_URLS and settings.IMAGE_URL_ALLOW_PRIVATE:
        hint = "Leave out IMAGE_URL_ALLOW_PRIVATE; it is for development."
        problem = "Callers may fetch pictures from the private network of this machine."
        yield Warning(problem, hint=hint, id="detection.W003")


@register()
def check_device(**kwargs) -> Iterator[CheckMessage]:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", settings.DEVICE):
        problem = f"The device {settings.DEVICE!r} is not known."
        yield Error(problem, hint="Set DEVICE to auto, cpu, cuda or cuda:0.", id="detection.E003")


@register()
def check_precision(**kwargs) -> Iterator[CheckMessage]:
    if settings.PRECISION not in ("auto", "fp32", "fp16", "bf16"):
        problem = f"The precision {settings.PRECISION!r} is not known."
        hint = "Set PRECISION to auto, fp32, fp16 or bf16."
        yield Error(problem, hint=hint, id="detection.E010")


@register()
def check_trust_list(**kwargs) -> Iterator[CheckMessage]:
    """Check that the file of C2PA_TRUST_LIST holds certificates."""
    path = settings.C2PA_TRUST_LIST
    if path is None:
        return
    try:
        if "-----BEGIN CERTIFICATE-----" in path.read_text(encoding="utf-8"):
            return
        problem = f"The trust list {path} holds no certificate in PEM."
    except (OSError, UnicodeDecodeError) as error:
        problem = f"The trust list {path} cannot be read: {reason(error)}."
    hint = "Set C2PA_TRUST_LIST to a PEM file of certificates, or leave it empty."
    yield Error(problem, hint=hint, id="detection.E011")


@register()
def check_upload_limits(**kwargs) -> Iterator[CheckMessage]:
    """Check that the limits are above zero, which would refuse every image."""
    for name in (
        *("MAX_UPLOAD_BYTES", "MAX_IMAGE_PIXELS", "MAX_REQUEST_BYTES"),
        *("MAX_QUEUED_IMAGES", "MAX_QUEUED_BYTES"),
    ):
        if getattr(settings, name) <= 0:
            problem = f"{name} is {getattr(settings, name)}: every image would be refused."
            yield Error(problem, hint=f"Set {name} to a positive number.", id="detection.E002")


def _checkpoint_problem() -> str | None:
    """Return a sentence if the checkpoint is unusable, without loading its weights."""
    try:
        path = active_checkpoint()
        if not path.exists():
            return f"There is no checkpoint at {path}."
        if (tower_file := lacking_tower(path)) and not has_fallback():
            return missing_tower_error(path, tower_file, settings.CLIP_CACHE)
    except CheckpointError as error:
        return str(error)
    return None


def _fallback_warnings() -> Iterator[CheckMessage]:
    """Warn if the fallback judges, because the default checkpoint lacks its CLIP tower."""
    if has_fallback() and lacking_tower(active_checkpoint()):
        hint = "Run manage.py fetch_clip, or set MODEL_CHECKPOINT_PATH to another checkpoint."
        yield Warning(fallback_notice(), hint=hint, id="detection.W002")
