from __future__ import annotations

import os
import signal
import socket
import threading

import pytest

from detection.provenance import ManifestHelper, UnreadableManifestError, inspect
from detection.provenance.c2pa_claims import claim_of
from detection.workbench.signing import a_signer
from tests.support.provenance import (
    CAMERA,
    COMPOSITE,
    TRAINED,
    created,
    edition_of,
    generated_picture,
    manifest_of,
    picture_with,
    signed_picture,
    the_signer,
    xmp_packet,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.stateless


@pytest.fixture(scope="module")
def trusting():
    helper = ManifestHelper(anchors=the_signer().root, seconds=60)
    yield helper
    helper.close()


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_manifest_names_the_generator_of_the_whole_picture(image_format):
    found = inspect(generated_picture(image_format))
    [claim] = found.claims
    assert (found.declares, found.generator, found.unread) == ("generated", "DALL·E", ())
    assert (claim.kind, claim.signer, claim.trust) == ("c2pa", "Test Maker", "intact")
    assert claim.says == "The manifest says that a generator made the whole picture."
    assert claim.details["program"] == "Test Program"


def test_a_trust_list_knows_its_signers(trusting):
    [known] = inspect(generated_picture(), helper=trusting).claims
    other = signed_picture(created(TRAINED), signer=a_signer("Stranger"))
    [stranger] = inspect(other, helper=trusting).claims
    assert (known.trust, known.signer) == ("trusted", "Test Maker")
    assert (stranger.trust, stranger.signer) == ("not_listed", "Stranger")


def test_a_picture_that_was_changed_after_it_was_signed_is_recognised(trusting):
    picture = bytearray(generated_picture())
    picture[-50] ^= 1
    [claim] = inspect(bytes(picture), helper=trusting).claims
    assert (claim.trust, claim.declares) == ("changed", "generated")


def expired(*failures: str, unchanged: bool = True) -> dict:
    """Return a report on a manifest without a time stamp, with these ``failures``."""
    success = [{"code": "assertion.dataHash.match"}] if unchanged else []
    return {
        "active_manifest": "a",
        "manifests": {"a": manifest_of(created(TRAINED, agent="GPT-4o"))},
        "validation_results": {
            "activeManifest": {
                "success": success,
                "failure": [{"code": code} for code in failures],
            }
        },
    }


def test_a_signature_that_is_not_valid_says_why():
    report = expired(
        "signingCredential.untrusted", "signingCredential.expired", "assertion.action.malformed"
    )
    claim = claim_of(report, has_anchors=False)
    assert claim.trust == "invalid"
    assert claim.generator == "ChatGPT"
    assert claim.why == (
        "Why: its certificate has expired, and no time stamp shows that it was valid when it "
        "signed; its list of actions does not begin with how the picture was made or opened. The "
        "picture was not changed since."
    )
    assert "breaks a rule of the standard (x.y)" in claim_of(expired("x.y"), has_anchors=True).why


def test_an_edited_picture_is_not_generated():
    recoloured = {"action": "c2pa.color_adjustments"}
    filled = {
        "action": "c2pa.edited",
        "digitalSourceType": COMPOSITE,
        "softwareAgent": "Adobe Firefly",
    }
    made, photograph = generated_picture(), picture_with(seed=2)
    inspected = {
        "of a generated one": inspect(edition_of(made, recoloured)),
        "with a filled part": inspect(edition_of(photograph, filled)),
        "only converted": inspect(edition_of(made, {"action": "c2pa.converted"})),
        "of a photograph": inspect(edition_of(photograph, recoloured)),
    }
    assert {name: found.declares for name, found in inspected.items()} == {
        "of a generated one": "edited",
        "with a filled part": "edited",
        "only converted": "generated",
        "of a photograph": None,
    }
    assert inspected["with a filled part"].generator == "Adobe Firefly"
    assert inspected["only converted"].generator == "DALL·E"


def test_only_an_intact_signature_confirms_a_camera(trusting):
    picture = signed_picture(created(CAMERA, agent="Camera"))
    changed = bytearray(picture)
    changed[-50] ^= 1
    stranger = signed_picture(created(CAMERA), signer=a_signer("Stranger"))
    assert inspect(picture, helper=trusting).declares == "captured"
    assert inspect(bytes(changed), helper=trusting).declares is None
    assert inspect(stranger, helper=trusting).declares is None
    assert (
        inspect(picture_with(xmp=xmp_packet(f'Iptc4xmpExt:DigitalSourceType="{CAMERA}"'))).declares
        is None
    )


def test_manifests_that_name_each_other_are_read_once():
    def of(*names: str) -> dict:
        ingredients = [{"active_manifest": name} for name in names]
        return manifest_of() | {"ingredients": ingredients}

    names = [f"m{number}" for number in range(40)]
    manifests = {name: of(*names) for name in names}
    claim = claim_of({"active_manifest": "m0", "manifests": manifests}, has_anchors=False)
    assert claim.declares is None


def test_a_manifest_elsewhere_is_not_fetched():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/picture.c2pa"
        found = inspect(picture_with(xmp=xmp_packet(f'dcterms:provenance="{address}"')))
        with pytest.raises(TimeoutError):
            server.accept()
    assert [claim.says for claim in found.claims] == [
        "The file says that its manifest is stored elsewhere; it was not fetched."
    ]
    assert found.declares is None


def test_a_damaged_manifest_is_named_as_unread():
    picture = generated_picture()
    start = picture.index(b"jumdc2pa")
    damaged = picture[: start + 40] + bytes(200) + picture[start + 240 :]
    found = inspect(damaged)
    assert found.unread == ("C2PA manifest",)
    assert found.declares is None


def test_a_helper_that_ends_is_started_again():
    helper = ManifestHelper(seconds=60)
    picture = generated_picture()
    first = helper.read(picture)
    os.kill(helper._process.pid, signal.SIGKILL)
    eventually(lambda: helper._process.poll() is not None)
    assert helper.read(picture) == first
    helper.close()


def test_a_helper_that_hangs_is_ended():
    helper = ManifestHelper(seconds=60)
    picture = generated_picture()
    helper.read(picture)
    hung = helper._process
    os.kill(hung.pid, signal.SIGSTOP)
    helper._seconds = 0.2
    with pytest.raises(UnreadableManifestError, match="timed out"):
        helper.read(picture)
    assert hung.poll() == -signal.SIGKILL
    helper._seconds = 60
    assert helper.read(picture)["active_manifest"]
    helper.close()


def test_a_helper_has_limited_memory():
    helper = ManifestHelper(max_memory=2**28, seconds=60)
    with pytest.raises(UnreadableManifestError):
        helper.read(bytes(2**29))
    assert helper.read(generated_picture())["active_manifest"]
    helper.close()


def test_threads_share_a_helper():
    helper = ManifestHelper(seconds=60)
    pictures = [signed_picture(created(TRAINED), seed=seed) for seed in range(4)]
    expected = [helper.read(picture) for picture in pictures]
    found: list[dict | None] = [None] * 8

    def read(index: int) -> None:
        found[index] = helper.read(pictures[index % 4])

    threads = [threading.Thread(target=read, args=[index]) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected * 2
    helper.close()
