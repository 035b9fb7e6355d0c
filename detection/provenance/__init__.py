"""What the file of a picture says of its own origin. Imports nothing of Django or of the detector.

    from detection.provenance import inspect
    inspect(Path("picture.png").read_bytes()).declares  # "generated", "edited", "captured" or None

A claim is the word of a stranger: its texts are bounded, and nothing that it names is fetched.
"""

from .c2pa_process import ManifestHelper, UnreadableManifestError
from .claims import CAPTURED, DECLARATIONS, EDITED, GENERATED, Claim, Provenance
from .inspection import inspect
from .sentences import RENDERING_XMP, TRUST_WORDS
