"""Find the claims in the bytes of a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import cache

from .c2pa_claims import PLACE as MANIFEST
from .c2pa_claims import claim_of
from .c2pa_process import ManifestHelper
from .claims import (
    CAPTURED,
    EDITED,
    GENERATED,
    MAX_CLAIMS,
    MAX_SENTENCE,
    Claim,
    Provenance,
    plain,
)
from .exif import Exif, exif_of
from .generators import (
    CREDIT_FIELDS,
    PROGRAM_FIELDS,
    generator_named_in,
    marked_texts,
    says_edited,
    says_made,
)
from .iptc import credits_of
from .metadata_blocks import Blocks, Text, read_blocks
from .prompts import settings_of
from .source_types import source_type
from .xmp import properties_of

logger = logging.getLogger(__name__)

_AIGC_WORDS = {
    "1": (GENERATED, "a generator made this"),
    "2": (None, "a generator may have made this"),
    "3": (None, "a generator is suspected to have made this"),
}


def inspect(
    data: bytes, *, helper: ManifestHelper | None = None, whole_prompts: bool = False
) -> Provenance:
    """Return what the file says of its origin.

    Unreadable metadata raise no error, but are named in ``unread``. ``helper`` reads C2PA
    manifests, by default one without a trust list. Prompts are cut to 300 characters unless
    ``whole_prompts``.
    """
    unread: list[str] = []
    claims: list[Claim] = []

    def attempt(place: str, read: Callable[[], object], otherwise: object) -> object:
        try:
            return read()
        except Exception as error:  # hostile metadata raise all kinds of errors
            logger.info("The %s of a picture could not be read: %r", place, error)
            unread.append(place)
            return otherwise

    blocks = Blocks()
    attempt("metadata", lambda: read_blocks(data, blocks), None)
    if blocks.has_manifest:
        manifest = helper or _shared_helper()
        claims += attempt(MANIFEST, lambda: [_manifest_claim(data, manifest)], [])
    exif = attempt("EXIF", lambda: exif_of(blocks.exif), Exif())
    xmp = attempt("XMP", lambda: properties_of(blocks.xmp), {})
    iptc = attempt("IPTC", lambda: [*credits_of(blocks.iptc)], [])
    texts = [
        *blocks.texts,
        *(Text(f"EXIF {key}", key, value) for key, value in exif.texts.items()),
        *(Text(f"XMP {key}", key, value) for key, value in xmp.items()),
        *(Text(f"IPTC {key}", key, value) for key, value in iptc),
    ]
    limit = 0 if whole_prompts else MAX_SENTENCE
    for place, read in (
        ("XMP", lambda: [*_xmp_claims(xmp)]),
        ("texts", lambda: [*_generator_claims(texts, limit)]),
        ("texts", lambda: [*_named_claims(texts)]),
        ("AIGC label", lambda: [*_aigc_claims(texts)]),
        ("EXIF", lambda: [*_camera_claims(exif)]),
    ):
        claims += attempt(place, read, [])
    return Provenance(tuple(_distinct(claims)[:MAX_CLAIMS]), tuple(dict.fromkeys(unread)))


@cache
def _shared_helper() -> ManifestHelper:
    return ManifestHelper()


def _manifest_claim(data: bytes, helper: ManifestHelper) -> Claim:
    return claim_of(helper.read(data), has_anchors=helper.has_anchors)


def _xmp_claims(xmp: dict[str, str]) -> Iterator[Claim]:
    declares, meaning = source_type(xmp.get("DigitalSourceType"))
    if meaning:
        yield Claim(
            kind="source_type",
            says=f"The digital source type says: {meaning}.",
            place="XMP DigitalSourceType",
            # Nothing confirms that a camera took an unsigned picture.
            declares=None if declares == CAPTURED else declares,
            generator=plain(xmp.get("AISystemUsed")),
            version=plain(xmp.get("AISystemVersionUsed")),
            details={"image_guid": plain(xmp["DigImageGUID"])} if xmp.get("DigImageGUID") else {},
        )
    if "provenance" in xmp:
        yield Claim(
            kind="c2pa",
            says="The file says that its manifest is stored elsewhere; it was not fetched.",
            place="XMP provenance",
        )


def _generator_claims(texts: list[Text], limit: int) -> Iterator[Claim]:
    """Yield claims by the texts that generators write: settings, graphs, job numbers."""
    for generator, text in _marked(texts):
        settings = settings_of(generator, text, texts)
        version, program = settings.pop("version", ""), plain(settings.pop("program", ""))
        prompts = ("prompt", "negative_prompt")
        details = {key: plain(settings[key], limit if key in prompts else 100) for key in settings}
        yield Claim(
            kind="generator",
            says=f"The file has settings as {program or generator} writes them.",
            place=text.place,
            declares=GENERATED,
            generator=program or generator,
            version=plain(version),
            details={key: value for key, value in details.items() if value},
        )


def _marked(texts: list[Text]) -> Iterator[tuple[str, Text]]:
    """Yield generators with the texts that they wrote; NovelAI's text has no mark of its own."""
    yield from marked_texts(texts)
    for text in texts:
        if text.key == "Comment" and any(_is_novelai(each) for each in texts):
            yield "NovelAI", text


def _is_novelai(text: Text) -> bool:
    return text.key in ("Software", "Source") and generator_named_in(text.value) == "NovelAI"


def _named_claims(texts: list[Text]) -> Iterator[Claim]:
    """Yield claims by fields for the name of a program or for a credit."""
    for text in texts:
        key = text.key.lower()
        if key not in PROGRAM_FIELDS and not (key in CREDIT_FIELDS and says_made(text.value)):
            continue
        if name := generator_named_in(text.value):
            yield Claim(
                kind="credit",
                says=f"{text.place} says: {plain(text.value)}",
                place=text.place,
                declares=EDITED if says_edited(text.value) else GENERATED,
                generator=name,
            )


def _aigc_claims(texts: list[Text]) -> Iterator[Claim]:
    """Yield claims by the label that Chinese law requires (GB 45438-2025)."""
    for text in texts:
        if (label := _aigc_label(text)) is None:
            continue
        declares, words = _AIGC_WORDS.get(label.get("label", ""), (None, "the label is unknown"))
        names = {"contentproducer": "producer", "produceid": "number"}
        details = {name: plain(label[key]) for key, name in names.items() if label.get(key)}
        yield Claim(
            kind="aigc_label",
            says=f"The AIGC label of China says: {words}.",
            place=text.place,
            declares=declares,
            details=details,
        )


def _aigc_label(text: Text) -> dict[str, str] | None:
    if text.key != "AIGC" and not (text.key == "UserComment" and '"AIGC"' in text.value[:1000]):
        return None
    try:
        label = json.loads(text.value)
        label = label.get("AIGC", label)
        return {key.lower(): str(value) for key, value in label.items()}
    except (ValueError, AttributeError, RecursionError):
        return {}


def _camera_claims(exif: Exif) -> Iterator[Claim]:
    if exif.camera:
        make, model = plain(exif.camera["make"]), plain(exif.camera["model"])
        name = model if model.lower().startswith(make.lower()) else f"{make} {model}"
        yield Claim(
            kind="camera",
            says=f"The EXIF data name a camera: {name}. Such data are easily forged.",
            place="EXIF",
            details={key: plain(value) for key, value in exif.camera.items()},
        )


def _distinct(claims: list[Claim]) -> list[Claim]:
    """Return the first claim of each kind and content, since EXIF and XMP repeat texts."""
    found: dict[tuple[str, ...], Claim] = {}
    for claim in claims:
        key = (claim.kind, claim.generator, claim.declares or "", claim.says)
        if claim.kind in ("generator", "aigc_label"):
            key = (claim.kind, claim.generator)
        if claim.kind == "credit":
            key = (claim.kind, claim.generator, claim.declares or "")
        found.setdefault(key, claim)
    return [*found.values()]
