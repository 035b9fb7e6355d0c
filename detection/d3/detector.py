"""The detector: deterministic verdicts on images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.ImageFile import ImageFile
from torch import Tensor

from .checkpoints import Checkpoint, Scorecard, build_network, load
from .errors import D3Error
from .explanation import attribute, crop_places, evidence_map, map_shape
from .images import decode_image, upright_rgb
from .network import ResidualTower, with_module
from .prefetching import in_groups, run_ahead
from .runtime import (
    DTYPES,
    MAX_SCORE_DIFFERENCE,
    check_precision,
    fastest_precision,
    inference_tower,
    one_core_threads,
    trial_pictures,
)
from .verdict import Doubt, Verdict, doubt_of, verdict_of

logger = logging.getLogger(__name__)

ImageSource = Image.Image | bytes | str | Path | Tensor

GPU_VIEWS = 64  # in one pass on a GPU: enough to keep it busy, little memory


@dataclass(frozen=True, slots=True)
class Evidence:
    """A map of the places in an image that decided its verdict.

    ``map`` is float32 (rows, columns) over the whole upright image, which it divides evenly: row r
    covers the pixels from height·r/rows to height·(r + 1)/rows, columns likewise. Positive values
    pushed towards FAKE, negative ones towards REAL. A value is the contribution, to first order, of
    a patch of the shuffle's size at this place to the logit of its crop, so the maps of one
    detector are comparable. Places outside of the crops of a large image are NaN.

    ``logit`` is that of the image before temperature, in fp32.
    """

    map: np.ndarray
    logit: float


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """The facts of a detector.

    ``version`` is a hash of the weights. A verdict is uncertain if its fake score lies in the band
    ``uncertain``, both ends included, or if a side of the image has fewer pixels than ``min_side``.
    ``scorecard`` is the measurement on a test split, if one was recorded.
    """

    name: str
    version: str
    architecture: dict[str, Any]
    parameters: int
    threshold: float
    uncertain: tuple[float, float]
    device: str
    precision: str
    preprocessing: dict[str, Any]
    scorecard: Scorecard | None = None
    min_side: int = 0


class Detector:
    """A loaded checkpoint. Deterministic, without state, safe to call from several threads."""

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device, precision: str) -> None:
        check_precision(precision)
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # it rounds convolutions to 10 bits
        network = build_network(checkpoint).to(device)
        on_cpu = device.type == "cpu"
        self._network = network  # in fp32, for explanations and for overflows in half precision
        self._device = device
        self._views_per_pass = 1 if on_cpu else GPU_VIEWS
        small = on_cpu and isinstance(network.tower, ResidualTower)
        self._threads = one_core_threads() if small else None
        self._preprocess = checkpoint.preprocessing
        self._permutations = torch.tensor(checkpoint.permutation_lists(), device=device)
        self._temperature = checkpoint.temperature
        self.info = DetectorInfo(
            name=checkpoint.name,
            version=checkpoint.version,
            architecture=asdict(checkpoint.architecture),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            threshold=checkpoint.threshold,
            uncertain=checkpoint.uncertain,
            device=str(device),
            precision="fp32",
            preprocessing=asdict(checkpoint.preprocessing),
            scorecard=checkpoint.scorecard,
            min_side=checkpoint.min_side,
        )
        self._fallback = None  # so that the trial below notices overflows in half precision
        self._run_in(precision if precision != "auto" else "fp32")
        if precision == "auto":
            self._try_precision(fastest_precision(device))
        if self.info.precision != "fp32":
            self._fallback = network

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        clip_weights: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        clip_cache: Path | None = None,
    ) -> Detector:
        """Load a checkpoint of our format or of a published layout.

        ``clip_weights`` is the CLIP tower of a published head: a file, a URL with ``#sha256=``, or
        "openai". ``clip_cache`` is the folder of the towers that our checkpoints name, see
        ``checkpoints.load``. ``device`` is "auto", "cpu", "cuda" or "cuda:n"; ``precision`` is
        "auto", "fp32", "fp16" or "bf16". "auto" is fp16 on a GPU with tensor cores and bf16 on a
        CPU with instructions for it, if the scores of a few pictures then stay within 0.01 of those
        in fp32, and fp32 otherwise.

        Raises CheckpointError for weights that cannot be used, and D3Error for a missing device or
        an unknown precision.
        """
        place = find_device(device)
        check_precision(precision)
        checkpoint = load(path, clip_weights=clip_weights, clip_cache=clip_cache)
        return cls(checkpoint, device=place, precision=precision)

    def prepare(self, image: ImageSource) -> Tensor:
        """Return the network's views of an image, float32 (crops, 3, S, S), on the CPU.

        Most methods accept the views in place of the image. The views need far less memory than the
        pixels of a large image.
        Raises ImageError for an image that cannot be used.
        """
        return image if isinstance(image, Tensor) else self._preprocess(_rgb(image))

    def logits(
        self,
        images: Iterable[ImageSource],
        permutations: Sequence[int] | Sequence[Sequence[int]] | None = None,
    ) -> np.ndarray:
        """Return logits of FAKE before temperature, averaged over crops and permutations.

        The result is float32 (N,). ``images`` are PIL images (RGB ones made in memory are used
        unchanged), bytes, paths, or results of ``prepare``. ``permutations`` replaces the
        checkpoint's permutations, for all images: one list of indices, or several whose logits are
        averaged. Of a head with two logits the first one counts.

        On a CPU each crop has a pass of its own, so an image gets the same bits alone, beside any
        other images and in any process. A GPU takes the crops in groups.

        Raises ImageError for the first image that cannot be used.
        """
        shuffles = (
            self._permutations if permutations is None else self._checked_permutations(permutations)
        )
        crop_counts: list[int] = []
        crops = self._crops(images, crop_counts)
        groups = in_groups(crops, max(1, self._views_per_pass // (1 + len(shuffles))))
        judge = partial(self._judge, shuffles=shuffles)
        if self._threads:
            passes = run_ahead(self._threads, judge, groups, ahead=2 * torch.get_num_threads())
        else:
            passes = map(judge, groups)
        logits = [logit for judged in passes for logit in judged]
        each = torch.tensor(logits).split(crop_counts)
        return np.array([own.mean().item() for own in each], dtype=np.float32)

    def detect(
        self, images: Iterable[ImageSource], threshold: float | None = None
    ) -> list[Verdict]:
        """Return one verdict per image: FAKE if the fake score is above the threshold (0..1)."""
        _check_list(images)
        doubts: list[Doubt] = []

        def prepared() -> Iterator[Tensor]:
            for image in images:
                pixels = image if isinstance(image, Tensor) else _rgb(image)
                doubts.append("" if isinstance(image, Tensor) else self.doubt(pixels))
                yield self.prepare(pixels)

        scores = self.scores(prepared())
        pairs = zip(scores, doubts, strict=True)
        return [self.verdict(score, threshold, doubt) for score, doubt in pairs]

    def doubt(self, image: Image.Image) -> Doubt:
        """Return why no verdict on an RGB image is certain, whatever its score."""
        return doubt_of(image, min_side=self.info.min_side)

    def scores(self, images: Iterable[ImageSource]) -> list[float]:
        """Return the calibrated probability of FAKE of each image, 0..1."""
        logits = torch.from_numpy(self.logits(images)).double()
        return (logits / self._temperature).sigmoid().tolist()

    def verdict(self, score: float, threshold: float | None = None, doubt: Doubt = "") -> Verdict:
        """Return the verdict for a fake ``score`` of this detector; see ``verdict_of``."""
        threshold = self.info.threshold if threshold is None else threshold
        uncertain = self.info.uncertain
        return verdict_of(score, threshold=threshold, uncertain=uncertain, doubt=doubt)

    def explain(self, image: ImageSource) -> Evidence:
        """Find the places that pushed an image's logit towards FAKE, and towards REAL.

        See ``explanation`` for the method, and the model card for its limits. It runs in fp32, one
        crop and one permutation at a time, and takes two to three times as long as the logit. A CPU
        gives the same bits each time; on a GPU the last ones may differ.

        Raises ImageError for an image that cannot be used, D3Error if the network gives no finite
        number, and TypeError for a result of ``prepare``, which lacks the image's size.
        """
        if isinstance(image, Tensor):
            raise TypeError("A prepared image cannot be explained: it lacks the image's size.")
        pixels = _rgb(image)
        crops = self._preprocess(pixels).to(self._device).split(1)  # (1, 3, S, S) each
        attributed = [attribute(self._network, crop, self._permutations) for crop in crops]
        logits, relevance = zip(*attributed, strict=True)
        patch = self._network.architecture.shuffle_patch
        places = crop_places(self._preprocess, *pixels.size)
        shape = map_shape(self._preprocess, patch, *pixels.size)
        evidence = Evidence(
            map=evidence_map(relevance, places, shape, patch), logit=float(np.mean(logits))
        )
        if not np.isfinite([evidence.logit, *map(np.sum, relevance)]).all():
            raise D3Error("The network gave no finite number in fp32.")
        return evidence

    def _crops(self, images: Iterable[ImageSource], counts: list[int]) -> Iterator[Tensor]:
        """Yield the crops of all images, (1, 3, S, S) each; append each image's number of crops."""
        _check_list(images)
        for image in images:
            crops = self.prepare(image)
            counts.append(len(crops))
            yield from crops.split(1)

    @torch.inference_mode()
    def _judge(self, crops: list[Tensor], shuffles: Tensor) -> list[float]:
        """Return the mean logit of each crop over the ``shuffles``, in one pass."""
        views = torch.cat(crops).to(self._device)
        logits = self._inference_network(views, shuffles)[..., 0].mean(dim=0)  # (crops,)
        overflowed = ~logits.isfinite()  # a few pictures do in half precision
        if self._fallback is not None and overflowed.any():
            logits[overflowed] = self._fallback(views[overflowed], shuffles)[..., 0].mean(dim=0)
        if not logits.isfinite().all():
            raise D3Error("The network gave no finite number in fp32.")
        return logits.tolist()

    def _run_in(self, precision: str) -> None:
        tower = inference_tower(self._network.tower, DTYPES[precision])
        # Shuffle and head stay in fp32.
        self._inference_network = with_module(self._network, "tower", tower)
        self.info = replace(self.info, precision=precision)

    def _try_precision(self, precision: str) -> None:
        """Switch from fp32 to ``precision`` if that hardly changes the scores of a few pictures."""
        if precision == "fp32":
            return
        pictures = [self.prepare(picture) for picture in trial_pictures(self._preprocess.size)]
        exact = self.scores(pictures)
        self._run_in(precision)
        try:
            difference = self._difference(exact, self.scores(pictures))
        except D3Error:  # a score is not finite
            difference = float("inf")
        if difference > MAX_SCORE_DIFFERENCE:
            self._run_in("fp32")
        logger.info(
            "%s runs in %s: in %s the fake scores of %d test pictures differ by up to %.4f.",
            *(self.info.name, self.info.precision, precision, len(pictures), difference),
        )

    def _difference(self, exact: list[float], scores: list[float]) -> float:
        """Return the largest difference of scores; infinite if a certain label changes."""
        for before, after in zip(map(self.verdict, exact), map(self.verdict, scores), strict=True):
            if before.label != after.label and not before.uncertain:
                return float("inf")
        return max(abs(a - b) for a, b in zip(exact, scores, strict=True))

    def _checked_permutations(
        self, permutations: Sequence[int] | Sequence[Sequence[int]]
    ) -> Tensor:
        patches = self._permutations.shape[1]
        try:
            table = np.atleast_2d(np.asarray(permutations))
        except ValueError:  # lists of different lengths
            table = np.empty((0, 0))
        valid = table.ndim == 2 and table.shape[1] == patches and table.dtype.kind in "iu"
        if not (valid and len(table) and (np.sort(table) == np.arange(patches)).all()):
            raise ValueError(f"Each permutation must hold each number of 0..{patches - 1} once.")
        return torch.from_numpy(table.astype(np.int64)).to(self._device)


def _check_list(images: object) -> None:
    if isinstance(images, ImageSource):
        raise TypeError("The images must be in a list, even a single one.")


def _rgb(source: ImageSource) -> Image.Image:
    if not isinstance(source, ImageSource):
        raise TypeError(f"An image must be a PIL image, bytes or a path, not {type(source)}.")
    if not isinstance(source, Image.Image):
        return decode_image(source).pixels
    was_opened = isinstance(source, ImageFile)  # an opened file may have an orientation
    if not was_opened and source.mode == "RGB" and all(source.size):
        return source
    return upright_rgb(source)


def find_device(name: str) -> torch.device:
    """Return the device "auto", "cpu", "cuda" or "cuda:n". Raises D3Error if it is missing."""
    try:
        best = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(best if name == "auto" else name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise D3Error(f"The device must be auto, cpu, cuda or cuda:n, not {name!r}.")
    if (device.index or 0) >= torch.cuda.device_count():
        raise D3Error(f"The device {name} is not available: PyTorch finds no such GPU.")
    return torch.device("cuda", device.index or 0)
