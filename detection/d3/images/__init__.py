"""Image files: their types, their pixels, and lossy changes of their pixels."""

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
from .formats import image_format
from .frames import MAX_JUDGED_FRAMES, spread_frames
