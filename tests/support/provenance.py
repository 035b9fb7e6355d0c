"""Pictures that declare their origin: in signed manifests, XMP packets, texts of generators."""

from __future__ import annotations

import io
from functools import cache

from PIL.PngImagePlugin import PngInfo

from detection.models import Label, Prediction, contradicts
from detection.provenance import inspect
from detection.workbench.signing import Signer, a_signer
from tests.support.factories import a_prediction, noise_image

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = SOURCE_TYPES + "trainedAlgorithmicMedia"
COMPOSITE = SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"
CAMERA = SOURCE_TYPES + "digitalCapture"
SAYS_NOTHING = {  # in answers of the API
    "declares": None,
    "says": "",
    "generator": "",
    "contradicts_label": False,
    "claims": [],
    "unread": [],
}
MIDJOURNEY = "A lighthouse at dusk --ar 3:2 --v 7 Job ID: 0a1b2c3d-0000-4000-8000-0123456789ab"
AUTOMATIC1111 = (
    "a lighthouse at dusk\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, "
    "Seed: 42, Size: 512x512, Model hash: 0123456789, Model: harbour_v2, Version: v1.10.1"
)


@cache
def the_signer() -> Signer:
    """Return the signer that all tests share."""
    return a_signer()


def manifest_of(*actions: dict, program: str = "Test Program") -> dict:
    label = {"label": "c2pa.actions", "data": {"actions": [*actions]}}
    return {
        "claim_generator_info": [{"name": program, "version": "1.2"}],
        "title": "test",
        "assertions": [label] if actions else [],
    }


def created(source_type: str, *, agent: str = "DALL·E") -> dict:
    return {
        "action": "c2pa.created",
        "digitalSourceType": source_type,
        "softwareAgent": {"name": agent},
    }


def signed_picture(
    *actions: dict, image_format: str = "JPEG", signer: Signer | None = None, seed: int = 0
) -> bytes:
    picture = picture_with(image_format=image_format, seed=seed)
    return (signer or the_signer()).sign(picture, manifest_of(*actions))


def generated_picture(image_format: str = "JPEG") -> bytes:
    """Return a picture whose manifest declares it generated."""
    return signed_picture(created(TRAINED), image_format=image_format)


def edition_of(origin: bytes, *actions: dict) -> bytes:
    """Return a signed picture that was opened from ``origin``, and the ``actions`` since."""
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["origin"]}}
    return the_signer().sign(picture_with(seed=1), manifest_of(opened, *actions), origin)


def xmp_packet(properties: str) -> bytes:
    """Return an XMP packet; ``properties`` are attributes of its description."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" '
        'xmlns:dcterms="http://purl.org/dc/terms/" '
        f'{properties}/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def picture_with(
    *, image_format: str = "JPEG", texts: dict[str, str] | None = None, seed: int = 0, **options
) -> bytes:
    """Return a small picture; ``texts`` are those of a PNG, ``options`` are Pillow's: xmp, exif."""
    if texts is not None:
        options["pnginfo"] = PngInfo()
        for key, value in texts.items():
            options["pnginfo"].add_text(key, value)
        image_format = "PNG"
    buffer = io.BytesIO()
    noise_image(seed=seed).save(buffer, image_format, **options)
    return buffer.getvalue()


def a_generated_record(*, fake_score: float = 0.1, **fields) -> Prediction:
    """Store the record of a picture whose file names Midjourney as its generator."""
    found = inspect(picture_with(texts={"Description": MIDJOURNEY}))
    label = Label.FAKE if fake_score > 0.5 else Label.REAL
    return a_prediction(
        fake_score=fake_score,
        provenance=found.as_dict(),
        declares=found.declares,
        disputed=contradicts(label, found.declares),
        **fields,
    )
