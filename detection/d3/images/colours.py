"""Convert pictures of every mode of Pillow to 8-bit RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from ..errors import ImageError

_WHITE_16_BIT = 65535
_ROWS = 256


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a new image, with transparency on white, and 16-bit grey scaled.

    Raises ImageError for samples without a fixed white.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_in_8_bits(image).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.mode == "La":  # a direct conversion would drop the alpha
        image = image.convert("LA")
    if image.has_transparency_data:
        return _on_white(image if image.mode == "RGBA" else image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(rgba: Image.Image) -> Image.Image:
    """Composite a few rows at a time: at once, a large picture would be in memory five times."""
    rgb = Image.new("RGB", rgba.size)
    for top in range(0, rgba.height, _ROWS):
        band = rgba.crop((0, top, rgba.width, min(top + _ROWS, rgba.height)))
        white = Image.new("RGBA", band.size, "white")
        rgb.paste(Image.alpha_composite(white, band).convert("RGB"), (0, top))
    return rgb


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")


def _grey_in_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey of 16 bits (modes I;16, I;16B, I) or floats in 0..1 (mode F); never clip."""
    samples = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        white = 1.0
    elif image.mode == "I":
        white = _WHITE_16_BIT
    else:
        white = 2 ** max(tags.get(Base.BitsPerSample, (16,))) - 1
    if not (samples.min() >= 0 and samples.max() <= white):  # also false for NaN
        raise ImageError(
            "The image has samples outside the range of 16-bit integers or of floats from 0 to 1, "
            "so its brightness is undefined."
        )
    grey = np.rint(np.multiply(samples, 255 / white, dtype=np.float32)).astype(np.uint8)
    if tags.get(Base.PhotometricInterpretation) == 0:  # white is zero
        grey = 255 - grey
    if isinstance(key := image.info.get("transparency"), int):
        grey[samples == key] = 255
    return Image.fromarray(grey)
