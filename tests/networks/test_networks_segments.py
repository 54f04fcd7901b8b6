from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from i2icli.networks.norm import InstanceNorm
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetGenerator
from i2icli.networks.segments import run_in_segments, run_layers
from i2icli.system.memory import LiveBytes

TAPS = {True: [0, 4, 8, 12], False: [0, 2, 5, 7, 10]}


def generator(*, antialias=True, **options):
    torch.manual_seed(0)
    return ResnetGenerator(
        width=4, blocks=2, antialias_down=antialias, antialias_up=antialias, **options
    )


def pictures():
    torch.manual_seed(1)
    return torch.randn(2, 3, 16, 20)


def trained(network, layers, *, recomputes, precision):
    """Return translation, features and all gradients of one pass."""
    network.recomputes = recomputes
    network.zero_grad()
    torch.manual_seed(2)
    images = pictures().requires_grad_()
    with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
        translated, features = network(images, layers)
    loss = translated.float().sin().sum() + sum(map_.float().sin().sum() for map_ in features)
    loss.backward()
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert images.grad is not None
    return [translated, *features, images.grad, *gradients]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_a_generator_that_recomputes_gives_the_same_bits(norm, antialias, dropout, precision):
    network = generator(antialias=antialias, norm=norm, dropout=dropout)
    layers = TAPS[antialias]
    kept = trained(network, layers, recomputes=False, precision=precision)
    for one, other in zip(
        kept, trained(network, layers, recomputes=True, precision=precision), strict=True
    ):
        assert torch.equal(one, other)


def test_batch_norm_counts_each_picture_once():
    network = generator(norm="batch")
    network.recomputes = True
    network(pictures())[0].sum().backward()
    counts = [m.num_batches_tracked for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert counts
    assert all(count == 1 for count in counts)


@pytest.mark.parametrize("antialias", [False, True])
def test_a_discriminator_that_recomputes_gives_the_same_bits(antialias):
    torch.manual_seed(0)
    network, found = PatchDiscriminator(width=4, antialias=antialias), []
    for network.recomputes in (False, True):
        network.zero_grad()
        logits = network(pictures().repeat(1, 1, 2, 2))
        logits.square().sum().backward()
        found.append([logits, *(weight.grad for weight in network.parameters())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


class _Convolutions(TorchDispatchMode):
    """Counts convolutions that mix channels."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default and args[8] == 1:
            self.count["forward"] += 1
        elif func is torch.ops.aten.convolution_backward.default and args[9] == 1:
            self.count["backward"] += 1
        return func(*args, **(kwargs or {}))


def test_no_convolution_runs_again():
    network, counts = generator(), []
    for network.recomputes in (False, True):
        with _Convolutions() as mode:
            network(pictures())[0].sum().backward()
        counts.append(mode.count)
    assert counts[0] == counts[1]
    assert counts[0]["forward"] == sum(
        isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in network.modules()
    )


def peak_bytes(*, recomputes):
    """Return the most that lives at once in a forward pass whose graph stays."""
    network, images = generator(), torch.zeros(1, 3, 64, 64)
    network.recomputes = recomputes
    with LiveBytes() as live:
        translated, _ = network(images)
    assert translated.requires_grad
    return live.peak


def test_recomputing_keeps_half_of_the_maps():
    assert peak_bytes(recomputes=True) < 0.6 * peak_bytes(recomputes=False)


def test_an_activation_overwrites_what_a_norm_returned_and_nothing_else():
    images = pictures().requires_grad_()
    before = images.detach().clone()
    layers = [nn.ReLU(), InstanceNorm(3), nn.LeakyReLU(0.2), nn.ReLU()]
    result = run_layers(layers, images)
    assert torch.equal(images, before)
    torch.testing.assert_close(result, nn.Sequential(*layers)(images))


def test_a_norm_that_is_not_lean_is_followed_as_well():
    norm, images = InstanceNorm(3), pictures().requires_grad_()
    norm.is_lean = False
    layers = [norm, nn.ReLU(), nn.Conv2d(3, 2, 3)]
    results = [run_in_segments(layers, images, recomputes=flag) for flag in (False, True)]
    gradients = [torch.autograd.grad(result.sum(), images)[0] for result in results]
    assert torch.equal(*gradients)
    torch.testing.assert_close(results[0], nn.Sequential(*layers)(images))
