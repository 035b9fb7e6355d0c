"""Towers for inference give the features of the trained towers."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from detection.d3.runtime import inference_tower, one_core_threads
from tests.d3.test_network import CLIP, small_network

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]


READ_EARLY = replace(CLIP, tower=replace(CLIP.tower, layers=3, reads=(0, 1), features=16))
ARCHITECTURES = {"clip": [CLIP], "clip_read_early": [READ_EARLY], "residual": []}


@pytest.fixture(params=ARCHITECTURES)
def tower(request) -> torch.nn.Module:
    torch.manual_seed(0)
    network = small_network(*ARCHITECTURES[request.param])
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):  # as if it had learned
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return network.tower.eval().requires_grad_(requires_grad=False)


def views_for(tower: torch.nn.Module) -> torch.Tensor:
    side = 28 if hasattr(tower, "transformer") else 64
    return torch.randn(3, 3, side, side)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)]
)
def test_features_are_those_of_the_tower(tower, dtype, tolerance):
    views = views_for(tower)
    expected = tower(views)

    found = inference_tower(tower, dtype)(views)

    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < tolerance


@torch.inference_mode()
def test_the_tower_itself_stays_as_it_is(tower):
    views = views_for(tower)
    before = tower(views)

    inference_tower(tower, torch.bfloat16)(views)

    assert torch.equal(tower(views), before)


def test_a_transformer_in_fp32_needs_no_memory_of_its_own():
    tower = small_network(CLIP).tower.eval()
    shared = {parameter.data_ptr() for parameter in tower.parameters()}
    # Parts of the joint weights of query, key and value lie in the middle of them.
    ranges = [(p.data_ptr(), p.data_ptr() + p.nbytes) for p in tower.parameters()]

    own = inference_tower(tower, torch.float32).parameters()

    for parameter in own:
        inside = any(start <= parameter.data_ptr() < end for start, end in ranges)
        assert parameter.data_ptr() in shared or inside


def test_one_core_threads_do_not_change_other_threads():
    cores = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_core_threads() as threads:
            inside = set(threads.map(lambda _: torch.get_num_threads(), range(6)))
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (inside, later, torch.get_num_threads()) == ({1}, [3], 3)
    finally:
        torch.set_num_threads(cores)
