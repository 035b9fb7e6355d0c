"""Turn the C2PA library's report on a manifest into one claim."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .claims import (
    CAPTURED,
    CHANGED,
    EDITED,
    GENERATED,
    INTACT,
    INVALID,
    MAX_SENTENCE,
    NOT_LISTED,
    TRUSTED,
    Claim,
    plain,
)
from .generators import generator_named_in
from .source_types import source_type

PLACE = "C2PA manifest"
MAX_HISTORY = 8  # manifests that are searched for names and actions
_CREATED = "c2pa.created"
# Actions that do not change what the picture shows
_NEUTRAL = {
    _CREATED,
    "c2pa.opened",
    "c2pa.converted",
    "c2pa.edited.metadata",
    "c2pa.published",
    "c2pa.repackaged",
    "c2pa.resized",
    "c2pa.transcoded",
    "c2pa.watermarked",
    "c2pa.watermarked.bound",
    "c2pa.watermarked.unbound",
}

_UNTRUSTED = "signingCredential.untrusted"
_OTHER_PIXELS = (
    "assertion.dataHash.mismatch",
    "assertion.bmffHash.mismatch",
    "assertion.boxesHash.",
)
_SAME_PIXELS = ("assertion.dataHash.match", "assertion.bmffHash.match", "assertion.boxesHash.match")
_REASONS = {
    "signingCredential.expired": "its certificate has expired, and no time stamp shows that it was "
    "valid when it signed",
    "signingCredential.revoked": "its certificate was revoked",
    "signingCredential.invalid": "its certificate is not one for signing pictures",
    "signingCredential.ocsp.revoked": "its certificate was revoked",
    "claimSignature.missing": "there is no signature",
    "claimSignature.mismatch": "the signature does not belong to this manifest",
    "claimSignature.outsideValidity": "it was signed outside the validity of its certificate",
    "assertion.hashedURI.mismatch": "the manifest was changed after it was signed",
    "assertion.missing": "a part of the manifest is missing",
    "assertion.action.malformed": "its list of actions does not begin with how the picture was "
    "made or opened",
    "timeStamp.mismatch": "its time stamp belongs to another signature",
    "ingredient.claimSignature.mismatch": "the manifest of an earlier version was changed",
    "ingredient.manifest.mismatch": "the manifest of an earlier version was changed",
}


def claim_of(report: dict[str, Any], *, has_anchors: bool) -> Claim:
    """Return the claim of the active manifest.

    Raises KeyError, TypeError or AttributeError for a report of unknown form.
    """
    manifests = report["manifests"]
    active = report["active_manifest"]
    manifest = manifests[active]
    declares = _declared(active, manifests, {})
    trust, why = _trust(report, has_anchors=has_anchors)
    if declares == CAPTURED and trust not in (TRUSTED, INTACT):
        declares = None  # a broken signature, or one of an unlisted signer, confirms no camera
    generator, version = _generator(active, manifests)
    signature = manifest.get("signature_info") or {}
    signer = plain(signature.get("issuer") or signature.get("common_name"))
    return Claim(
        kind="c2pa",
        says=_sentence(declares, active, manifests),
        place=PLACE,
        declares=declares,
        generator=generator if declares in (GENERATED, EDITED) else "",
        version=version,
        signer=signer,
        trust=trust,
        why=why,
        details=_details(active, manifests),
    )


def _declared(name: str, manifests: dict[str, Any], known: dict[str, str | None]) -> str | None:
    """Return what a manifest declares of the whole picture.

    Its actions decide. If all are neutral, the manifest of its only ingredient (the picture that
    was opened) decides. ``known`` holds the results for manifests that were read before.
    """
    if name in known or name not in manifests:
        return known.get(name)
    known[name] = None  # ends the recursion where manifests name each other in a circle
    known[name] = _declared_by(manifests[name], manifests, known)
    return known[name]


def _declared_by(
    manifest: dict[str, Any], manifests: dict[str, Any], known: dict[str, str | None]
) -> str | None:
    actions = [*_actions(manifest)]
    is_edited = any(action.get("action") not in _NEUTRAL for action in actions)
    types = [source_type(action.get("digitalSourceType"))[0] for action in actions]
    pairs = zip(actions, types, strict=True)
    created = next((kind for action, kind in pairs if action.get("action") == _CREATED), None)
    if created in (GENERATED, EDITED):
        return created
    origins = [
        _declared(each.get("active_manifest", ""), manifests, known)
        for each in _ingredients(manifest)
    ]
    if {GENERATED, EDITED} & {*types}:
        return EDITED
    if is_edited:
        return EDITED if {GENERATED, EDITED} & {*origins} else None
    return created or (origins[0] if len(origins) == 1 else None)


def _actions(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for assertion in manifest.get("assertions") or ():
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            for action in (assertion.get("data") or {}).get("actions") or ():
                if isinstance(action, dict):
                    yield action


def _ingredients(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in manifest.get("ingredients") or () if isinstance(each, dict)]


def _history(name: str, manifests: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the manifest and those of its ingredients, newest first."""
    names, seen = [name], set()
    while names and len(seen) < MAX_HISTORY:
        name = names.pop(0)
        if name in seen or name not in manifests:
            continue
        seen.add(name)
        yield manifests[name]
        names += [each.get("active_manifest", "") for each in _ingredients(manifests[name])]


def _generator(name: str, manifests: dict[str, Any]) -> tuple[str, str]:
    """Return name and version of the generator, by the first action that a model did."""
    for manifest in _history(name, manifests):
        for action in _actions(manifest):
            if source_type(action.get("digitalSourceType"))[0] not in (GENERATED, EDITED):
                continue
            agent, version = _agent(action.get("softwareAgent"))
            program, program_version = _program(manifest)
            for text in (agent, plain(action.get("description"), MAX_SENTENCE), program):
                if known := generator_named_in(text):
                    return known, version or (program_version if text == program else "")
            return (agent, version) if agent else (program, program_version)
    return "", ""


def _agent(agent: Any) -> tuple[str, str]:
    if isinstance(agent, dict):
        return plain(agent.get("name")), plain(agent.get("version"))
    return plain(agent), ""


def _program(manifest: dict[str, Any]) -> tuple[str, str]:
    info = next(iter(manifest.get("claim_generator_info") or ()), None)
    if isinstance(info, dict):
        return plain(info.get("name")), plain(info.get("version"))
    return plain(manifest.get("claim_generator")), ""


def _sentence(declares: str | None, name: str, manifests: dict[str, Any]) -> str:
    if declares == GENERATED:
        return "The manifest says that a generator made the whole picture."
    if declares == EDITED:
        return "The manifest says that the picture was edited, and that a generator made parts."
    if declares == CAPTURED:
        return "The manifest says that a camera took the picture."
    meanings = (
        source_type(action.get("digitalSourceType"))[1]
        for manifest in _history(name, manifests)
        for action in _actions(manifest)
    )
    if meaning := next(filter(None, meanings), ""):
        return f"The manifest says: {meaning}."
    return "The manifest does not say how the picture was made."


def _details(name: str, manifests: dict[str, Any]) -> dict[str, str]:
    manifest = manifests[name]
    signature = manifest.get("signature_info") or {}
    actions = [
        plain(action.get("action")).removeprefix("c2pa.")
        for each in _history(name, manifests)
        for action in _actions(each)
    ]
    details = {
        "program": _program(manifest)[0],
        "title": plain(manifest.get("title")),
        "certificate": plain(signature.get("common_name")),
        "signed_at": plain(signature.get("time")),
        "actions": plain(", ".join(actions), MAX_SENTENCE),
    }
    return {key: value for key, value in details.items() if value}


def _trust(report: dict[str, Any], *, has_anchors: bool) -> tuple[str, str]:
    """Return a key of ``TRUST_WORDS``, and the reason if a signature is not valid."""
    codes = [*_failures(report)]
    broken = [code for code in codes if code != _UNTRUSTED]
    if any(code.startswith(_OTHER_PIXELS) for code in broken):
        return CHANGED, ""
    if broken:
        reasons = dict.fromkeys(
            _REASONS.get(code, f"it breaks a rule of the standard ({plain(code)})")
            for code in broken
        )
        unchanged = " The picture was not changed since." if _is_unchanged(report) else ""
        return INVALID, plain(f"Why: {'; '.join(reasons)}.{unchanged}", MAX_SENTENCE)
    if not has_anchors:
        return INTACT, ""
    return (NOT_LISTED if _UNTRUSTED in codes else TRUSTED), ""


def _is_unchanged(report: dict[str, Any]) -> bool:
    results = report["validation_results"].get("activeManifest") or {}
    return any(status.get("code") in _SAME_PIXELS for status in results.get("success") or ())


def _failures(report: dict[str, Any]) -> Iterator[str]:
    results = report.get("validation_results") or {}
    deltas = (delta.get("validationDeltas") for delta in results.get("ingredientDeltas") or ())
    for statuses in (results.get("activeManifest"), *deltas):
        for status in (statuses or {}).get("failure") or ():
            yield str(status.get("code", ""))
