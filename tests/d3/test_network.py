from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from detection.d3.network import (
    Architecture,
    AttentionHead,
    ClipTowerConfig,
    D3Network,
    PowerSpectrum,
    shuffle_patches,
)
from tests.support.checkpoints import ARCHITECTURE

pytestmark = [pytest.mark.stateless, pytest.mark.cpu_kind]

CLIP = Architecture(tower=ClipTowerConfig(width=64, layers=1), image_size=28)


def small_network(architecture: Architecture = ARCHITECTURE) -> D3Network:
    torch.manual_seed(0)
    return D3Network(architecture).eval()


def test_the_shuffle_gathers_whole_patches():
    image = torch.arange(2 * 3 * 6 * 6).reshape(2, 3, 6, 6)
    permutation = torch.tensor([5, 0, 1, 2, 8, 4, 3, 7, 6])
    shuffled = shuffle_patches(image, permutation, 2)
    for position, patch in enumerate(permutation.tolist()):
        row, column = divmod(position, 3)
        source_row, source_column = divmod(patch, 3)
        assert torch.equal(
            shuffled[..., 2 * row : 2 * row + 2, 2 * column : 2 * column + 2],
            image[
                ...,
                2 * source_row : 2 * source_row + 2,
                2 * source_column : 2 * source_column + 2,
            ],
        )


def test_attention_is_normalised_over_the_queries():
    torch.manual_seed(0)
    head = AttentionHead(4)
    features = torch.randn(1, 2, 4)
    [rows] = features
    scores = head.query(rows) @ head.key(rows).T / 2
    weights = scores.exp() / scores.exp().sum(dim=0)  # each column sums to one
    expected = head.fc((weights @ head.value(rows)).flatten())
    assert torch.allclose(head(features)[0], expected, atol=1e-6)


def test_all_views_go_through_the_tower_in_one_pass():
    network = small_network()
    passes = []
    network.tower.register_forward_hook(lambda _tower, inputs, _output: passes.append(inputs[0]))
    images = torch.randn(2, 3, 64, 64)
    permutations = torch.stack([torch.randperm(16) for _ in range(3)])
    logits = network(images, permutations)
    assert logits.shape == (3, 2, 1)
    [views] = passes
    assert torch.equal(views[:2], shuffle_patches(images, permutations[0], 16))
    assert torch.equal(views[6:], images)


def test_the_order_of_the_views_matters():
    network = small_network()
    shuffled, original = network.features(torch.randn(1, 3, 64, 64), torch.randperm(16)[None])
    swapped = network.classify(original[None], shuffled[0])
    assert not torch.allclose(network.classify(shuffled, original), swapped)


def test_each_permutation_is_judged_as_if_alone():
    network = small_network()
    images = torch.randn(2, 3, 64, 64)
    permutations = torch.stack([torch.randperm(16) for _ in range(2)])
    together = network(images, permutations)
    for permutation, logits in zip(permutations, together, strict=True):
        assert torch.allclose(network(images, permutation[None])[0], logits, atol=1e-6)


def test_the_spectrum_has_the_right_gradient():
    maps = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(PowerSpectrum.apply, (maps,))


def test_the_spectrum_preserves_the_energy():
    maps = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    halved = PowerSpectrum.apply(maps)
    whole = 2 * halved.sum() - halved[..., 0].sum() - halved[..., -1].sum()
    assert whole.item() == pytest.approx(maps.square().sum().item())


def test_the_small_tower_cannot_see_brightness():
    """Its filters sum to zero, except at the border of a picture."""
    stem = small_network().tower.stem
    image = torch.randn(1, 3, 64, 64)
    seen, brighter = stem(image), stem(image + 3)
    assert torch.allclose(seen[..., 2:-2, 2:-2], brighter[..., 2:-2, 2:-2], atol=1e-4)


@pytest.mark.parametrize(("period", "row"), [(2, 0), (4, 4), (8, 6), (16, 7)])
def test_harmonics_show_patterns_that_repeat_every_few_pixels(period, row):
    """Rows of harmonics run from -1/2 to 7/16 cycles per pixel, columns from 0 to 1/2."""
    branch = small_network().tower.spectral
    torch.manual_seed(1)
    noise = torch.randn(1, 1, 64, 64)
    stripes = torch.cos(2 * torch.pi / period * torch.arange(64))[:, None].expand(64, 64)
    found = branch.harmonics(branch.log_power(noise + stripes))[0, 0]
    assert found.shape == (16, 9)
    height = found.max().item()
    assert height > 2
    assert found[row, 0] == pytest.approx(height, abs=0.5)  # its mirror image is as high


def test_every_weight_learns_but_one():
    """The bias of the queries moves all scores of a column alike; the softmax cancels that."""
    network = small_network().train()
    network(torch.randn(2, 3, 64, 64), torch.randperm(16)[None]).sum().backward()
    idle = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or parameter.grad.abs().max() < 1e-5
    ]
    assert idle == ["attention_head.query.bias"]


def test_the_clip_tower_gives_the_normalised_class_token():
    network = small_network(CLIP)
    [feature] = network.tower(torch.randn(1, 3, 28, 28))
    assert feature.shape == (64,)
    assert abs(feature.mean().item()) < 1e-5  # a fresh ln_post changes nothing
    assert feature.std(correction=0).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("architecture", [ARCHITECTURE, CLIP, Architecture()])
def test_architectures_survive_their_dictionary(architecture):
    assert Architecture.from_dict(asdict(architecture)) == architecture
