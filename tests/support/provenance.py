"""Pictures that say where they come from: signed manifests, XMP packets, texts of generators."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support.factories import noise_image

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = SOURCE_TYPES + "trainedAlgorithmicMedia"
COMPOSITE = SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"
CAMERA = SOURCE_TYPES + "digitalCapture"
MIDJOURNEY = "A lighthouse at dusk --ar 3:2 --v 7 Job ID: 0a1b2c3d-0000-4000-8000-0123456789ab"
AUTOMATIC1111 = (
    "a lighthouse at dusk\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, "
    "Seed: 42, Size: 512x512, Model hash: 0123456789, Model: harbour_v2, Version: v1.10.1"
)


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority in PEM, and what signs in the name of an organisation."""

    root: str
    chain: str
    key: str

    def sign(self, picture: bytes, manifest: dict, *ingredients: bytes) -> bytes:
        """Return the picture with a manifest; ``ingredients`` are pictures that it was made of."""
        signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo("es256", self.chain.encode(), self.key.encode(), None)
        )
        signed = io.BytesIO()
        with c2pa.Builder(json.dumps(manifest)) as builder:
            for ingredient in ingredients:
                about = {"title": "origin", "relationship": "parentOf", "label": "origin"}
                builder.add_ingredient(json.dumps(about), mime(ingredient), io.BytesIO(ingredient))
            builder.sign(signer, mime(picture), io.BytesIO(picture), signed)
        return signed.getvalue()


def mime(picture: bytes) -> str:
    with Image.open(io.BytesIO(picture)) as image:
        return Image.MIME[image.format]


def a_signer(organisation: str = "Test Maker", *, valid_days: float = 30) -> Signer:
    """Return a signer whose certificate was made for it; with less than 0 days it has expired."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _name("Test Authority")
    root = _certificate(authority, root_key, authority, root_key, days=60)
    leaf = _certificate(
        _name(organisation), key, authority, root_key, days=valid_days, is_leaf=True
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Signer(root=_pem(root), chain=_pem(leaf) + _pem(root), key=private.decode())


@cache
def the_signer() -> Signer:
    """Return a signer that tests share."""
    return a_signer()


def _name(organisation: str) -> x509.Name:
    parts = {NameOID.ORGANIZATION_NAME: organisation, NameOID.COMMON_NAME: f"{organisation} key"}
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts.items()])


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    days: float,
    is_leaf: bool = False,
) -> x509.Certificate:
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    ) | {"encipher_only": False, "decipher_only": False}
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=not is_leaf, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=is_leaf, key_cert_sign=not is_leaf, crl_sign=not is_leaf, **usage
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if is_leaf:
        for_mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(for_mail, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


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
    """Return a picture with a manifest that says generated."""
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
