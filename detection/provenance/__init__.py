"""Read what the file of a picture says of its own origin, without Django and the detector.

    from detection.provenance import inspect
    inspect(Path("picture.png").read_bytes()).declares  # "generated", "edited", "captured" or None

Claims are not trusted: their texts are bounded, and nothing that they name is fetched.
"""

from .c2pa_process import ManifestHelper, UnreadableManifestError
from .claims import CAPTURED, EDITED, GENERATED, Claim, Provenance
from .inspection import inspect
from .sentences import RENDERING_XMP, TRUST_WORDS
