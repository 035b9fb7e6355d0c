"""Image files: their types, their pixels, and lossy changes of their pixels."""

from .containers import image_format
from .decoding import (
    DecodedImage,
    ImageLimits,
    check_size,
    decode_frame,
    decode_frames,
    decode_image,
    upright_rgb,
)
from .degradation import jpeg_bytes, recompress, recompress_webp, rescale
from .frames import MAX_JUDGED_FRAMES, spread_frames
