"""The properties of an XMP packet."""

from __future__ import annotations

from defusedxml import ElementTree

MAX_PROPERTIES = 2000
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def properties_of(packet: bytes) -> dict[str, str]:
    """Return texts by property, without namespaces; of several texts of a property the first.

    Entities and document types are refused. Raises ParseError, DefusedXmlException.
    """
    text = packet.strip(b"\0 \r\n\t")
    if not text:
        return {}
    root = ElementTree.fromstring(text, forbid_dtd=True)
    found: dict[str, str] = {}
    parents = [(root, "")]
    for _ in range(MAX_PROPERTIES):
        if not parents:
            break
        element, name = parents.pop()
        if not element.tag.startswith(_RDF):
            name = _local(element.tag)
        if name and (text := (element.text or "").strip()):
            found.setdefault(name, text)
        for attribute, value in element.attrib.items():
            found.setdefault(_local(attribute), value)
        parents += [(child, name) for child in reversed(element)]
    return found


def _local(name: str) -> str:
    return name.rpartition("}")[2]
