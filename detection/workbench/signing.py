"""Sign pictures with manifests, by certificates that are created for the purpose."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


class Signer(NamedTuple):
    """The certificate of an authority, and chain and key of an organisation, in PEM."""

    root: str
    chain: str
    key: str

    def sign(self, picture: bytes, manifest: dict, *ingredients: bytes) -> bytes:
        """Return the picture with a signed manifest; it was made from ``ingredients``."""
        signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo("es256", self.chain.encode(), self.key.encode(), None)
        )
        signed = io.BytesIO()
        with c2pa.Builder(json.dumps(manifest)) as builder:
            for ingredient in ingredients:
                about = {"title": "origin", "relationship": "parentOf", "label": "origin"}
                builder.add_ingredient(json.dumps(about), _mime(ingredient), io.BytesIO(ingredient))
            builder.sign(signer, _mime(picture), io.BytesIO(picture), signed)
        return signed.getvalue()


def _mime(picture: bytes) -> str:
    with Image.open(io.BytesIO(picture)) as image:
        return Image.MIME[image.format]


def a_signer(organisation: str = "Test Maker") -> Signer:
    """Return a signer with a certificate and an authority of its own."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _name("Test Authority")
    root = _certificate(authority, root_key, authority, root_key, is_leaf=False)
    leaf = _certificate(_name(organisation), key, authority, root_key, is_leaf=True)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Signer(root=_pem(root), chain=_pem(leaf) + _pem(root), key=private.decode())


def _name(organisation: str) -> x509.Name:
    parts = {NameOID.ORGANIZATION_NAME: organisation, NameOID.COMMON_NAME: f"{organisation} key"}
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts.items()])


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_leaf: bool,
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
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
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
