from __future__ import annotations

import pytest

from detection.checks import (
    check_api,
    check_device,
    check_image_urls,
    check_model_checkpoint,
    check_precision,
    check_production,
    check_trust_list,
    check_upload_limits,
)
from tests.support.provenance import the_signer

pytestmark = pytest.mark.stateless


def only_message(settings, path) -> str:
    settings.MODEL_CHECKPOINT_PATH = path
    [error] = check_model_checkpoint()
    assert error.id == "detection.E001"
    return error.msg


def test_a_good_checkpoint_passes(settings, tiny_checkpoint):
    settings.MODEL_CHECKPOINT_PATH = tiny_checkpoint

    assert [*check_model_checkpoint()] == []


def test_a_missing_checkpoint_is_named(settings, tmp_path):
    path = tmp_path / "missing.safetensors"

    assert only_message(settings, path) == f"There is no checkpoint at {path}."


def test_a_folder_is_no_checkpoint(settings, tmp_path):
    assert (
        only_message(settings, tmp_path) == f"The checkpoint {tmp_path} is a directory, not a file."
    )


@pytest.mark.parametrize("content", [b"", b"just some text\n", b"\x10\0\0\0\0\0\0\0{"])
def test_a_file_that_is_no_checkpoint_is_named(settings, tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)

    assert path.name in only_message(settings, path)


@pytest.mark.parametrize("name", ["MAX_UPLOAD_BYTES", "MAX_QUEUED_IMAGES", "MAX_QUEUED_BYTES"])
def test_limits_that_would_refuse_every_image_are_errors(settings, name):
    setattr(settings, name, 0)

    [error] = check_upload_limits()

    assert name in error.msg


@pytest.mark.parametrize(
    ("access", "errors"), [("open", []), ("token", []), ("closed", ["detection.E006"])]
)
def test_access_is_open_or_by_token(settings, access, errors):
    settings.API_ACCESS = access

    assert [error.id for error in check_api()] == errors


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_a_device_that_may_exist_passes(settings, device):
    settings.DEVICE = device

    assert [*check_device()] == []


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:one"])
def test_a_word_that_is_no_device_is_an_error(settings, device):
    settings.DEVICE = device

    [error] = check_device()

    assert repr(device) in error.msg


def test_a_word_that_is_no_precision_is_an_error(settings):
    assert [*check_precision()] == []
    settings.PRECISION = "half"

    [error] = check_precision()

    assert "'half'" in error.msg


def test_a_word_that_is_no_rate_is_an_error(settings):
    assert [*check_api()] == []
    rates = {"predict": "60/min", "image_url": "", "read": "often", "login": ""}
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}

    [error] = check_api()

    assert error.msg == "THROTTLE_READ is 'often', which is no rate."


def test_images_of_the_private_network_are_a_warning(settings):
    settings.IMAGE_URL_ALLOW_PRIVATE = True
    assert [*check_image_urls()] == []
    settings.ALLOW_IMAGE_URLS = True
    assert [warning.id for warning in check_image_urls()] == ["detection.W003"]


def test_production_needs_a_key_and_host_names(settings):
    assert [*check_production()] == []
    settings.SECRET_KEY = ""
    settings.ALLOWED_HOSTS = []
    assert [error.id for error in check_production()] == ["detection.E004", "detection.E005"]


def test_the_embedded_default_needs_neither(settings):
    settings.DEBUG = True
    settings.ALLOWED_HOSTS = []
    assert [*check_production()] == []


def test_the_trust_list_holds_certificates(settings, tmp_path):
    settings.C2PA_TRUST_LIST = None
    assert [*check_trust_list()] == []
    settings.C2PA_TRUST_LIST = tmp_path / "anchors.pem"
    [missing] = check_trust_list()
    assert missing.id == "detection.E011"
    assert missing.msg.endswith("anchors.pem cannot be read: no such file or directory.")
    settings.C2PA_TRUST_LIST.write_text("nothing")
    [empty] = check_trust_list()
    assert empty.msg.endswith("anchors.pem holds no certificate in PEM.")
    settings.C2PA_TRUST_LIST.write_text(the_signer().root)
    assert [*check_trust_list()] == []
