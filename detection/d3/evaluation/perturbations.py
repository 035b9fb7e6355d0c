"""Perturbations for robustness tests: compression, blur, resizing, screenshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from PIL import Image, ImageFilter

from ..errors import ImageError, PerturbationError
from ..images import recompress, recompress_webp, rescale

SCREENSHOT_SCALE = 0.8  # a picture is shown so much smaller to fit the screen


@dataclass(frozen=True, slots=True)
class Perturbation:
    """``kind`` is a key of ``KINDS``, ``amount`` in the unit of that kind."""

    kind: str
    amount: float

    @property
    def name(self) -> str:
        return f"{self.kind}={self.amount:g}"

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return a changed copy of the RGB ``image``. Raises ImageError if that is impossible."""
        try:
            return KINDS[self.kind].apply(image, self.amount)
        except (OSError, ValueError) as error:  # JPEG and WebP limit the pixels of a side
            raise ImageError(f"The image is too large for the perturbation {self.name}.") from error


def parse_perturbations(specifications: Iterable[str]) -> tuple[Perturbation, ...]:
    """Parse specifications: ``["jpeg=90,70", "resize=0.5"]`` are three perturbations.

    Order is preserved, and duplicates are removed.

    Raises PerturbationError.
    """
    found = (item for specification in specifications for item in _parse(specification))
    return tuple(dict.fromkeys(found))


def _parse(specification: str) -> list[Perturbation]:
    name, _, amounts = specification.partition("=")
    if name not in KINDS:
        raise PerturbationError(
            f"{specification!r} is not a perturbation; use {_EXAMPLES}, or several values like "
            "jpeg=90,70."
        )
    return [Perturbation(name, _parse_amount(name, amount)) for amount in amounts.split(",")]


def _parse_amount(name: str, text: str) -> float:
    kind = KINDS[name]
    try:
        amount = float(text)
    except ValueError:
        amount = float("nan")
    if not kind.low <= amount <= kind.high or (kind.whole and amount % 1):
        raise PerturbationError(f"{text!r} is not {kind.meaning}, which {name} needs.")
    return int(amount) if kind.whole else amount


def _screenshot(image: Image.Image, quality: int) -> Image.Image:
    """Scale the image to fit a screen, and compress it as JPEG."""
    return recompress(rescale(image, SCREENSHOT_SCALE, Image.Resampling.BICUBIC), quality)


def _blur(image: Image.Image, sigma: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma))


def _resize(image: Image.Image, factor: float) -> Image.Image:
    return rescale(image, factor, Image.Resampling.BICUBIC)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One way to change an image; the amount lies in ``low`` .. ``high``."""

    apply: Callable[[Image.Image, float], Image.Image]
    low: float
    high: float
    meaning: str
    whole: bool = False


_QUALITY = "a whole quality from 1 to 100"
KINDS = {
    "jpeg": _Kind(recompress, 1, 100, _QUALITY, whole=True),
    "webp": _Kind(recompress_webp, 1, 100, _QUALITY, whole=True),
    "screenshot": _Kind(_screenshot, 1, 100, _QUALITY, whole=True),
    "blur": _Kind(_blur, 0.1, 50, "a sigma from 0.1 to 50 pixels"),
    "resize": _Kind(_resize, 0.05, 4, "a factor from 0.05 to 4"),
}
_EXAMPLES = "jpeg=90, webp=80, screenshot=85, blur=1 or resize=0.5"
