"""Claims of a file about its origin, and what they declare together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

GENERATED, EDITED, CAPTURED = "generated", "edited", "captured"
DECLARATIONS = (GENERATED, EDITED, CAPTURED)  # the strongest first

# The trust in a claim, by its signature
TRUSTED, INTACT, NOT_LISTED = "trusted", "intact", "not_listed"
CHANGED, INVALID, UNSIGNED = "changed", "invalid", "unsigned"

MAX_NAME = 100  # characters of a generator, a version, a signer, a model
MAX_SENTENCE = 300  # characters of a claim as a sentence, and of a prompt in a record
MAX_CLAIMS = 20


def plain(value: object, limit: int = MAX_NAME) -> str:
    """Return a text of the file on one line, without control characters, cut to ``limit``."""
    if not isinstance(value, (str, int, float)):
        return ""
    text = str(value)[: 4 * limit + 64] if limit else str(value)
    printable = "".join(c if c.isprintable() else " " for c in text)
    words = " ".join(printable.split())
    return words if not limit or len(words) <= limit else words[: limit - 1].rstrip() + "…"


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of the file.

    ``kind`` is c2pa, source_type, credit, generator, aigc_label or camera. ``says`` is the claim as
    a sentence, ``place`` its place in the file. ``declares`` is one of ``DECLARATIONS`` or None.
    ``trust`` is a key of ``TRUST_WORDS``, and ``why`` its reason. ``details`` are facts by name.
    """

    kind: str
    says: str
    place: str
    declares: str | None = None
    generator: str = ""
    version: str = ""
    signer: str = ""
    trust: str = UNSIGNED
    why: str = ""
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provenance:
    """All claims of a file, and the places whose metadata could not be read."""

    claims: tuple[Claim, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def decisive(self) -> Claim | None:
        """Return the claim on which ``declares`` and ``says`` are based.

        A manifest counts more than a text, because it distinguishes made from edited. A claim that
        a camera took the picture counts least: the other claims contradict it.
        """
        signed = (claim for claim in self.claims if claim.trust != UNSIGNED)
        made = (claim for claim in signed if claim.declares in (GENERATED, EDITED))
        ranked = (c for declared in DECLARATIONS for c in self.claims if c.declares == declared)
        return next(chain(made, ranked), None)

    @property
    def declares(self) -> str | None:
        """Return generated, edited (in part generated), captured (a signed claim) or None."""
        return self.decisive.declares if self.decisive else None

    @property
    def generator(self) -> str:
        """Return the generator that made the picture or a part of it; empty if none is named."""
        names = [c.generator for c in self.claims if c.generator and c.declares == self.declares]
        return (self.decisive.generator or next(iter(names), "")) if self.decisive else ""

    @property
    def says(self) -> str:
        """Return what the file declares as a sentence; empty if it declares nothing."""
        if self.declares == CAPTURED:
            return f"This file says that a camera took it; {self.decisive.signer} signed this."
        agent = f"with {self.generator}" if self.generator else "by a generator"
        if self.declares == GENERATED:
            return f"This file says that it was made {agent}."
        return f"This file says that parts of it were made {agent}." if self.declares else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the provenance in JSON types, as records store it."""
        return {
            "declares": self.declares,
            "generator": self.generator,
            "says": self.says,
            "claims": [asdict(claim) for claim in self.claims],
            "unread": [*self.unread],
        }
