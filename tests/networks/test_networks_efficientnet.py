import pytest
import torch
from torch.nn import functional as F

from i2icli.networks.efficientnet import (
    EfficientNetLite0,
    efficientnet_channels,
    released_shapes,
)


@pytest.fixture(scope="module")
def released():
    """Tensors of the released names and shapes, random, variances among them."""
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name, shape in released_shapes().items():
        drawn = torch.randn(shape, generator=generator)
        if name.endswith("running_var"):
            tensors[name] = 0.5 + drawn.abs()
        elif drawn.dim() > 1:
            tensors[name] = drawn * (2 / drawn[0].numel()) ** 0.5
        else:
            tensors[name] = 1 + 0.1 * drawn if name.endswith(".weight") else 0.1 * drawn
    return tensors


@pytest.fixture(scope="module")
def network(released):
    network = EfficientNetLite0()
    network.load_convolutions(released)
    return network.eval().requires_grad_(False)


def unit(images, w, conv, norm, *, stride=1, groups=1):
    """Convolve as TensorFlow pads, then normalise by running statistics, in float64."""
    weight = w[f"{conv}.weight"].double()
    margins = []
    for side in (images.shape[3], images.shape[2]):
        total = max(0, (-(-side // stride) - 1) * stride + weight.shape[2] - side)
        margins += [total // 2, total - total // 2]
    value = F.conv2d(F.pad(images, margins), weight, stride=stride, groups=groups)
    mean, var, gain, offset = (
        w[f"{norm}.{part}"].double()[:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (value - mean) / (var + 1e-3).sqrt() * gain + offset


def plain_features(images, w):
    """Return the features of all taps, layer by layer as the network is published."""
    # channels out, first and last block, stride of the first
    stages = [(16, 0, 0, 1), (24, 1, 2, 2), (40, 3, 4, 2), (80, 5, 7, 2)]
    stages += [(112, 8, 10, 1), (192, 11, 14, 2), (320, 15, 15, 1)]
    value, features = F.relu6(unit(images, w, "_conv_stem", "_bn0", stride=2)), []
    for outside, first, last, stage_stride in stages:
        for number in range(first, last + 1):
            name, before = f"_blocks.{number}", value
            if f"{name}._expand_conv.weight" in w:
                value = F.relu6(unit(value, w, f"{name}._expand_conv", f"{name}._bn0"))
            stride = stage_stride if number == first else 1
            wide = value.shape[1]
            value = unit(
                value, w, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, groups=wide
            )
            value = unit(F.relu6(value), w, f"{name}._project_conv", f"{name}._bn2")
            assert value.shape[1] == outside
            if stride == 1 and before.shape[1] == outside:
                value = value + before
            if number in (2, 4, 10, 15):
                features.append(value)
    return features


@pytest.mark.parametrize("size", [(64, 96), (45, 37)])
def test_features_are_those_of_the_network_as_published(network, released, size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours = network(images, network.names)
    theirs = plain_features(images.double(), released)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)
    assert [len(one[0]) for one in ours] == efficientnet_channels(network.names)


def test_a_network_stops_after_the_last_tap(network):
    images, entered = torch.zeros(1, 3, 32, 32), []
    hooks = [
        block.register_forward_hook(lambda *_, n=number: entered.append(n))
        for number, block in enumerate(network.blocks)
    ]
    assert len(network(images, ("block2", "block4"))) == 2
    assert entered == [0, 1, 2, 3, 4]
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("layers", [("block4", "block2"), ("block3",), ("block2", "block2")])
def test_unknown_layers_and_other_orders_are_refused(network, layers):
    with pytest.raises(ValueError, match="must ascend among block2, block4, block10, block15"):
        network(torch.zeros(1, 3, 32, 32), layers)


def test_the_released_tensors_are_240():
    shapes = released_shapes()
    assert len(shapes) == 240
    assert shapes["_conv_stem.weight"] == (32, 3, 3, 3)
    assert shapes["_blocks.15._project_conv.weight"] == (320, 1152, 1, 1)
