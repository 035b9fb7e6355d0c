"""Trust in words, and the note in pictures that the service draws."""

from __future__ import annotations

from .claims import CHANGED, INTACT, INVALID, NOT_LISTED, TRUSTED, UNSIGNED

TRUST_WORDS = {
    TRUSTED: "Signed and intact: the picture was not changed since, and the signer is on the trust "
    "list.",
    INTACT: "Signed and intact: the picture was not changed since. No trust list confirms the "
    "signer.",
    NOT_LISTED: "Signed and intact: the picture was not changed since. But the signer is not on "
    "the trust list.",
    CHANGED: "Signed, but the picture was changed after it was signed.",
    INVALID: "Signed, but the signature is not valid.",
    UNSIGNED: "Not signed: anybody can write or delete this.",
}

# The XMP packet of drawn pictures, instead of the metadata of the original
RENDERING_XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description>'
    b'<rdf:Alt><rdf:li xml:lang="x-default">A rendering of a picture with the verdict of a '
    b"detector. It is not the picture, and carries none of its metadata."
    b"</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    b'<?xpacket end="r"?>'
)
