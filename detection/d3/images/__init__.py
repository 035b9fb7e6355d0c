"""Image files: their types, their pixels, and lossy changes of their pixels."""

from .containers import FORMAT_NAMES, image_format
from .decoding import DecodedImage, ImageLimits, check_size, decode_image, upright_rgb
from .degradation import jpeg_bytes, recompress, recompress_webp, rescale

__all__ = [
    "FORMAT_NAMES",
    "DecodedImage",
    "ImageLimits",
    "check_size",
    "decode_image",
    "image_format",
    "jpeg_bytes",
    "recompress",
    "recompress_webp",
    "rescale",
    "upright_rgb",
]
