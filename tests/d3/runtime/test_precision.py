from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detection.d3 import Detector, detector
from detection.d3.errors import D3Error
from detection.d3.runtime import fastest_precision, training_autocast, trial_pictures
from tests.support.checkpoints import a_checkpoint, with_weights
from tests.support.factories import noise_image

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def a_cpu_with_bf16(monkeypatch):
    monkeypatch.setattr(detector, "fastest_precision", lambda device: "bf16")


def checkpoint_with_gain(gain: float):
    """Return a checkpoint with the usual logits, centred at 0 and multiplied by ``gain``."""
    checkpoint = a_checkpoint(temperature=1.0)
    logits = Detector(checkpoint, device=CPU, precision="fp32").logits(trial_pictures(64))
    median = float(np.median(logits))
    return with_weights(
        checkpoint,
        {
            "attention_head.fc.weight": lambda weight: weight.mul_(gain),
            "attention_head.fc.bias": lambda bias: bias.sub_(median).mul_(gain),
        },
    )


def test_auto_chooses_half_precision_that_hardly_changes_scores(caplog):
    caplog.set_level(logging.INFO, "detection.d3")

    chosen = Detector(a_checkpoint(), device=CPU, precision="auto")

    assert chosen.info.precision == "bf16"
    named = Detector(a_checkpoint(), device=CPU, precision="bf16")
    assert chosen.logits([noise_image()]) == named.logits([noise_image()])
    assert "d3-test runs in bf16" in caplog.text


def test_auto_rejects_half_precision_that_changes_scores(caplog):
    caplog.set_level(logging.INFO, "detection.d3")
    checkpoint = checkpoint_with_gain(1e7)

    chosen = Detector(checkpoint, device=CPU, precision="auto")

    assert chosen.info.precision == "fp32"
    exact = Detector(checkpoint, device=CPU, precision="fp32")
    assert chosen.logits([noise_image()]) == exact.logits([noise_image()])
    assert "d3-test runs in fp32: in bf16" in caplog.text


def test_auto_rejects_half_precision_that_overflows(monkeypatch):
    monkeypatch.setattr(detector, "fastest_precision", lambda device: "fp16")
    large = {"tower.spatial.layers.0.1.bias": lambda bias: bias.fill_(1e5)}

    chosen = Detector(with_weights(a_checkpoint(), large), device=CPU, precision="auto")

    assert chosen.info.precision == "fp32"


def test_only_images_that_overflow_in_half_precision_are_judged_again_in_fp32():
    half = Detector(a_checkpoint(), device=CPU, precision="fp16")
    exact = Detector(a_checkpoint(), device=CPU, precision="fp32")
    pictures = [noise_image(seed=seed) for seed in range(3)]
    before = half.logits(pictures)
    half._inference_network = overflowing(half._inference_network)
    half._threads, half._views_per_pass = None, 64

    logits = half.logits(pictures)

    assert logits[[0, 2]] == pytest.approx(before[[0, 2]], abs=1e-3)
    assert logits[1] == pytest.approx(exact.logits(pictures)[1], abs=1e-5)


def overflowing(network):
    """Return the network with an infinite logit for the second crop of each pass."""

    def overflowed(views, shuffles):
        logits = network(views, shuffles)
        logits[:, 1] = torch.inf
        return logits

    return overflowed


def test_a_logit_that_is_not_finite_in_fp32_either_is_an_error():
    no_number = {"attention_head.fc.bias": lambda bias: bias.fill_(torch.nan)}
    lost = Detector(with_weights(a_checkpoint(), no_number), device=CPU, precision="fp16")

    with pytest.raises(D3Error, match="no finite number in fp32"):
        lost.logits([noise_image()])


def test_auto_depends_on_the_abilities_of_the_hardware(monkeypatch):
    for ability, precision in (((6, 1), "fp32"), ((7, 0), "fp16"), ((9, 0), "fp16")):
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device, found=ability: found
        )
        assert fastest_precision(torch.device("cuda")) == precision
    for abilities, usable, precision in (
        ({"avx512_bf16": True}, True, "bf16"),
        ({"amx_bf16": True, "avx512_bf16": False}, True, "bf16"),
        ({"avx512_bf16": True}, False, "fp32"),
        ({"avx2": True}, True, "fp32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=abilities: found)
        monkeypatch.setattr(
            torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda found=usable: found
        )
        assert fastest_precision(CPU) == precision
        assert training_autocast(CPU)._enabled == (precision == "bf16")


def test_bf16_counts_only_if_onednn_may_use_it():
    code = "from detection.d3.runtime.precision import cpu_has_bf16; print(cpu_has_bf16())"
    command = [sys.executable, "-c", code]
    old = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    printed = subprocess.run(command, cwd=ROOT, env=old, check=True, capture_output=True, text=True)
    assert printed.stdout == "False\n"


def test_the_pictures_of_the_trial_are_the_same_each_time():
    first, second = trial_pictures(64), trial_pictures(64)
    assert [picture.tobytes() for picture in first] == [picture.tobytes() for picture in second]
    assert len({picture.tobytes() for picture in first}) == len(first)
