"""Train small generators, to add fakes of many decoders to a training split.

Each generator is an autoencoder of random design: the kind and factor of its up-sampling, its
width, activation, normalisation and skips. It learns from the real pictures of a train split for a
minute or two, then reconstructs some of them. A picture and its reconstruction differ only in the
decoder's traces (Rajan et al., "Aligned Datasets Improve Detection of Latent Diffusion-Generated
Images", ICLR 2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from detection.d3.dataset import CLASS_FOLDERS, REAL, scan_dataset
from detection.d3.errors import D3Error, DatasetError, ImageError
from detection.d3.images import decode_image, jpeg_bytes
from detection.d3.runtime import training_autocast
from detection.d3.training import FILTERS, random_crop

UPSAMPLERS = ("nearest", "bilinear", "transposed-4", "transposed-2", "pixel-shuffle")
ACTIVATIONS = {"relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.2), "silu": nn.SiLU}
TRAINING_PICTURES = 1000  # at most, for one generator
BATCH_SIZE = 8
CROP = 64  # side of the training crops, in pixels
LARGEST = 512  # side of the squares cut out of large pictures, in pixels
MAX_ERROR = 0.1  # mean error of a trained generator, of values 0..1
BORDER = 8  # pixels cut off a reconstruction, which show the padding


class GeneratorError(D3Error):
    """A generator did not learn: some random designs diverge."""

    code = "bad_generator"


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """The design of one autoencoder."""

    upsampler: str
    halvings: int  # 1 or 2: the latent has a side 2 or 4 times shorter
    latent: int
    width: int  # channels at full resolution
    activation: str
    norm: bool
    skip: bool  # adds up the pictures of all scales, as StyleGAN does
    last_kernel: int

    @classmethod
    def draw(cls, index: int, random: Random) -> GeneratorConfig:
        """Draw a random design; ``index`` decides the up-sampler, in turn."""
        halvings = random.choice((1, 2, 2))
        return cls(
            upsampler=UPSAMPLERS[index % len(UPSAMPLERS)],
            halvings=halvings,
            latent={1: 5, 2: 12}[halvings],
            width=random.choice((12, 16, 24)),
            activation=random.choice(sorted(ACTIVATIONS)),
            norm=random.random() < 0.4,
            skip=random.random() < 0.5,
            last_kernel=random.choice((1, 3, 3, 5)),
        )


class Generator(nn.Module):
    """Reconstructs pictures (N, 3, S, S) of values 0..1; S is a multiple of 8."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        widths = [config.width * min(4, 2**level) for level in range(config.halvings + 1)]
        encoder: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
        for fine, coarse in pairwise(widths):
            encoder += [nn.SiLU(), nn.Conv2d(fine, coarse, 4, stride=2, padding=1)]
        encoder += [nn.SiLU(), nn.Conv2d(widths[-1], config.latent, 3, padding=1), nn.Tanh()]
        self.encoder = nn.Sequential(*encoder)
        self.halvings = config.halvings
        self.first = nn.Conv2d(config.latent + 3, widths[-1], 3, padding=1)
        self.blocks = nn.ModuleList(
            _Upsampling(coarse, fine, config)
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        last = config.last_kernel
        self.last = nn.Conv2d(widths[0], 3, last, padding=last // 2)

    def forward(self, images: Tensor) -> Tensor:
        images = images * 2 - 1
        thumbnail = functional.avg_pool2d(images, 2**self.halvings)
        state, picture = self.first(torch.cat([self.encoder(images), thumbnail], 1)), thumbnail
        for block in self.blocks:
            state, picture = block(state, picture)
        return (self.last(state) + picture) / 2 + 0.5


class _Upsampling(nn.Module):
    """Doubles the sides of the state, and with skips those of the picture."""

    def __init__(self, coarse: int, fine: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.skip = config.skip
        self.before = _residual(coarse, config)
        self.up = _upsampler(config.upsampler, coarse, fine)
        self.after = _residual(fine, config)
        self.to_picture = nn.Conv2d(fine, 3, 1) if config.skip else None
        self.up_picture = _upsampler(config.upsampler, 3, 3) if config.skip else None

    def forward(self, state: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        state = self.up(state + self.before(state))
        state = state + self.after(state)
        if not self.skip:
            return state, torch.zeros((), device=state.device)
        return state, self.up_picture(picture) + self.to_picture(state)


def _residual(width: int, config: GeneratorConfig) -> nn.Sequential:
    """Return a block that adds nothing at first: few steps could not unlearn a random block."""
    last = nn.Conv2d(width, width, 3, padding=1)
    nn.init.zeros_(last.weight)
    return nn.Sequential(
        nn.GroupNorm(4, width) if config.norm else nn.Identity(),
        ACTIVATIONS[config.activation](),
        nn.Conv2d(width, width, 3, padding=1),
        ACTIVATIONS[config.activation](),
        last,
    )


def _upsampler(name: str, inputs: int, outputs: int) -> nn.Module:
    if name.startswith("transposed"):
        kernel = int(name[-1])
        return nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=kernel // 2 - 1)
    if name == "pixel-shuffle":
        return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode=name), nn.Conv2d(inputs, outputs, 3, padding=1)
    )


def train_generator(
    config: GeneratorConfig,
    pictures: list[Image.Image],
    *,
    steps: int,
    seed: int,
) -> Generator:
    """Fit a generator to random crops of the pictures, by the mean error.

    Raises GeneratorError if the error is still large after ``steps``.
    """
    torch.manual_seed(seed)
    random = Random(seed)
    generator = Generator(config).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(steps):
        crops = _random_crops(pictures, BATCH_SIZE, random)
        with training_autocast(crops.device):
            error = generator(crops).float() - crops
        loss = error.abs().mean() + 0.5 * _edges(error)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    remaining = error.abs().mean().item()
    if not remaining <= MAX_ERROR:  # refuses NaN too
        raise GeneratorError(f"The generator still errs by {remaining:.2f} of the value range.")
    return generator.eval()


def write_pairs(
    dataset: Path, output: Path, *, index: int, count: int, steps: int, seed: int
) -> GeneratorConfig:
    """Train generator ``index`` on the real pictures of a train split and write ``count`` pairs.

    The pairs are in ``output/train/own-NN-UPSAMPLER/{0_real,1_fake}``. Raises DatasetError and
    GeneratorError.
    """
    random = Random(f"{seed} {index}")
    config = GeneratorConfig.draw(index, random)
    paths = sorted({s.path for s in scan_dataset(dataset, "train") if s.label == REAL})
    chosen = random.sample(paths, min(len(paths), max(count, TRAINING_PICTURES)))
    pictures = [picture for path in chosen if (picture := _square(path, random))]
    if not pictures:
        raise DatasetError(f"{dataset}/train has no readable real picture of {2 * CROP} pixels.")
    generator = train_generator(config, pictures, steps=steps, seed=seed + index)
    folder = output / "train" / f"own-{index:02d}-{config.upsampler}"
    for name in CLASS_FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures[:count]):
        pair = make_pair(generator, picture, random)
        for name, data in zip(CLASS_FOLDERS, pair, strict=True):
            (folder / name / f"{number:05d}.jpg").write_bytes(data)
    return config


def _square(path: Path, random: Random) -> Image.Image | None:
    """Cut a square of bounded size out of a picture; None if it is too small or unreadable."""
    try:
        picture = decode_image(path).pixels
    except ImageError:
        return None
    side = min(*picture.size, LARGEST)
    return random_crop(picture, side, random) if side >= 2 * CROP else None


@torch.inference_mode()
def make_pair(generator: Generator, picture: Image.Image, random: Random) -> tuple[bytes, bytes]:
    """Return (real, fake): a square picture and its reconstruction, as JPEG files of one kind.

    The picture is first reduced, which removes the 8×8 grid of an earlier JPEG compression: the
    reconstruction would not have the grid. The fake's radial spectrum is moved towards the real
    one's by a random share, so that softness alone does not reveal the fake.
    """
    scale = random.uniform(0.7, 0.97)
    side = int(picture.width * scale) // 8 * 8
    picture = picture.resize((side, side), random.choice(FILTERS))
    pixels = np.asarray(picture)
    values = torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1)[None]
    output = generator(values)[0].permute(1, 2, 0).numpy() * 255
    fake = match_spectrum(output, pixels, strength=random.random())
    box = (BORDER, BORDER, side - BORDER, side - BORDER)
    quality, subsampling = random.choice((100, *range(75, 99))), random.choice((0, 2, 2, 2))
    real, fake = (
        jpeg_bytes(image.crop(box), quality, subsampling=subsampling)
        for image in (picture, Image.fromarray(fake))
    )
    return real, fake


def match_spectrum(fake: np.ndarray, real: np.ndarray, *, strength: float) -> np.ndarray:
    """Scale the fake's amplitudes, ring by ring, towards those of the real picture.

    Both (S, S, 3) of values 0..255 → uint8. ``strength`` 0 changes nothing, 1 gives the real
    amplitudes; no ring changes by more than a factor of 2.5.
    """
    side = fake.shape[0]
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    ring = np.minimum(np.hypot(rows, columns) * 40, 24).astype(int)
    spectra = np.fft.rfft2(fake, axes=(0, 1)), np.fft.rfft2(real.astype(float), axes=(0, 1))
    level_fake, level_real = (
        np.bincount(ring.ravel(), np.abs(spectrum).mean(axis=2).ravel()) for spectrum in spectra
    )
    gain = np.clip((level_real / np.maximum(level_fake, 1e-6)) ** strength, 0.4, 2.5)
    gain[:3] = 1
    matched = np.fft.irfft2(spectra[0] * gain[ring][..., None], s=(side, side), axes=(0, 1))
    return np.clip(np.round(matched), 0, 255).astype(np.uint8)


def _random_crops(pictures: list[Image.Image], count: int, random: Random) -> Tensor:
    crops = [random_crop(random.choice(pictures), CROP, random) for _ in range(count)]
    values = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    return values.contiguous(memory_format=torch.channels_last)


def _edges(error: Tensor) -> Tensor:
    """Return the mean absolute difference between neighbours, which rewards sharpness."""
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
