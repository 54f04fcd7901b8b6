import math

import pytest
import torch
from torch import nn

from i2icli.networks.layers import init_weights

FAN_IN, FAN_OUT = 32 * 9, 64 * 9


@pytest.mark.parametrize(
    ("kind", "deviation"),
    [
        ("xavier", 0.02 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("normal", 0.02),
        ("kaiming", math.sqrt(2 / FAN_IN)),
        ("orthogonal", 0.02 / math.sqrt(FAN_IN)),
    ],
)
def test_convolutions_start_with_the_deviation_of_their_kind(kind, deviation):
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 64, 3)
    init_weights(layer, kind, 0.02)
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.05)
    assert layer.bias.abs().max() == 0


def test_every_layer_with_weights_is_drawn():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.ConvTranspose2d(2, 3, 3), nn.Sequential(nn.Linear(4, 5, bias=False)), nn.BatchNorm2d(400)
    )
    for weight in network.parameters():
        nn.init.constant_(weight, 7.0)
    init_weights(network, "normal", 0.02)
    assert network[0].weight.abs().max() < 0.2
    assert network[1][0].weight.abs().max() < 0.2
    assert network[2].weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert network[2].weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert network[2].bias.abs().max() == 0


def test_the_global_generator_decides():
    layers = [nn.Linear(3, 3), nn.Linear(3, 3)]
    for layer in layers:
        torch.manual_seed(5)
        init_weights(layer, "xavier", 0.02)
    assert torch.equal(layers[0].weight, layers[1].weight)
