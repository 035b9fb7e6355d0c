from __future__ import annotations

import io
from random import Random

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from PIL import Image

from detection.workbench.generators import (
    BORDER,
    UPSAMPLERS,
    Generator,
    GeneratorConfig,
    GeneratorError,
    make_pair,
    match_spectrum,
    train_generator,
)
from tests.support.factories import noise_image

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]


def design(upsampler: str, *, skip: bool = False, halvings: int = 1) -> GeneratorConfig:
    return GeneratorConfig(
        upsampler=upsampler,
        halvings=halvings,
        latent=4,
        width=4,
        activation="silu",
        norm=skip,
        skip=skip,
        last_kernel=3,
    )


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("halvings", [1, 2])
def test_each_design_gives_pictures_of_the_size_it_got(upsampler, skip, halvings):
    generator = Generator(design(upsampler, skip=skip, halvings=halvings))
    assert generator(torch.rand(2, 3, 16, 24)).shape == (2, 3, 16, 24)


def gradient() -> Image.Image:
    rows = np.linspace(0, 255, 128).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(rows[:, None, None], (128, 128, 3)).copy())


def test_a_generator_learns_to_reconstruct():
    generator = train_generator(design("nearest"), [gradient()], steps=60, seed=0)
    values = torch.from_numpy(np.asarray(gradient()) / np.float32(255)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        assert (generator(values) - values).abs().mean() < 0.1


def test_a_generator_that_did_not_learn_is_an_error():
    with pytest.raises(GeneratorError, match="still errs"):
        train_generator(design("nearest"), [noise_image(size=(128, 128))], steps=5, seed=0)


def test_the_up_samplers_take_turns():
    drawn = [GeneratorConfig.draw(index, Random(index)).upsampler for index in range(5)]
    assert drawn == list(UPSAMPLERS)


def test_a_pair_is_treated_alike():
    generator = Generator(design("bilinear")).eval()
    real, fake = make_pair(generator, noise_image(size=(128, 128)), Random(1))
    images = [Image.open(io.BytesIO(data)) for data in (real, fake)]
    assert images[0].size == images[1].size
    assert images[0].width <= 128 - 2 * BORDER
    assert images[0].quantization == images[1].quantization
    assert real != fake


def test_matching_brings_the_fakes_spectrum_to_the_real_ones():
    random = np.random.default_rng(0)
    real = random.normal(128, 20, (64, 64, 3))
    soft = 128 + (real - 128) / 2

    def energy(pixels: np.ndarray) -> float:
        return np.abs(np.fft.fft2(pixels[..., 0]))[20:44, 20:44].mean()

    unchanged, matched = (match_spectrum(soft, real, strength=share) for share in (0.0, 1.0))
    assert energy(unchanged) == pytest.approx(energy(soft), rel=0.02)
    assert energy(matched) == pytest.approx(energy(real), rel=0.05)


def test_the_command_writes_pairs_in_the_training_layout(tmp_path):
    folder = tmp_path / "set" / "train" / "camera" / "0_real"
    folder.mkdir(parents=True)
    for number in range(3):
        gradient().rotate(90 * number).save(folder / f"{number}.png")
    options = {"generators": 2, "pictures": 2, "steps": 20}
    call_command("make_fakes", str(tmp_path / "set"), str(tmp_path / "out"), **options)
    written = sorted(str(p.relative_to(tmp_path / "out")) for p in tmp_path.glob("out/**/*.jpg"))
    assert written == [
        f"train/{name}/{kind}/{number:05d}.jpg"
        for name in ("own-00-nearest", "own-01-bilinear")
        for kind in ("0_real", "1_fake")
        for number in range(2)
    ]


def test_the_command_leaves_out_a_generator_that_did_not_learn(tmp_path, capsys):
    folder = tmp_path / "set" / "train" / "0_real"
    folder.mkdir(parents=True)
    noise_image(size=(128, 128)).save(folder / "noise.png")
    call_command("make_fakes", str(tmp_path / "set"), str(tmp_path), generators=1, steps=2)
    assert "own-00 is left out" in capsys.readouterr().err
    assert not list(tmp_path.glob("train/**/*.jpg"))


def test_a_folder_that_is_no_data_set_is_named(tmp_path):
    with pytest.raises(CommandError, match="train"):
        call_command("make_fakes", str(tmp_path), str(tmp_path / "out"))
