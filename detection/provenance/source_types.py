"""IPTC's digital source types, in words and as declarations.

The vocabulary is at http://cv.iptc.org/newscodes/digitalsourcetype/; C2PA uses it too.
"""

from __future__ import annotations

from .claims import CAPTURED, EDITED, GENERATED, plain

_TYPES = {
    "trainedAlgorithmicMedia": (GENERATED, "a trained model made the picture"),
    "algorithmicMedia": (GENERATED, "an algorithm made the picture"),
    "trainedAlgorithmicData": (GENERATED, "a trained model made the data"),
    "compositeWithTrainedAlgorithmicMedia": (EDITED, "a trained model made parts of the picture"),
    "compositeSynthetic": (EDITED, "parts of the picture are synthetic"),
    "digitalCapture": (CAPTURED, "a camera took the picture"),
    "computationalCapture": (CAPTURED, "a camera computed the picture from several exposures"),
    "negativeFilm": (CAPTURED, "the picture was scanned from a negative"),
    "positiveFilm": (CAPTURED, "the picture was scanned from a slide"),
    "print": (CAPTURED, "the picture was scanned from a print"),
    "algorithmicallyEnhanced": (None, "an algorithm enhanced the picture"),
    "compositeCapture": (None, "the picture is composed of several photographs"),
    "composite": (None, "the picture is composed of several pictures"),
    "humanEdits": (None, "a person edited the picture"),
    "minorHumanEdits": (None, "a person edited the picture slightly"),
    "digitalCreation": (None, "a person made the picture with a program"),
    "digitalArt": (None, "a person made the picture with a program"),
    "screenCapture": (None, "the picture is of a screen"),
    "virtualRecording": (None, "the picture was recorded in a virtual world"),
    "dataDrivenMedia": (None, "the picture shows data"),
}


def source_type(uri: object) -> tuple[str | None, str]:
    """Return what a source type declares, and its meaning; unknown types declare nothing."""
    name = plain(uri).rstrip("/").rpartition("/")[2]
    return _TYPES.get(name, (None, f"its source type is {name}" if name else ""))
