"""Weights that are nearly those of a known network never end in anything but a sentence."""

from contextlib import suppress

import pytest
import torch
from released_files import (
    autoencoder,
    in_joligen_layout,
    munit_discriminator,
    patchgan,
    projector,
    resnet,
    stylegan2,
    stylegan2_discriminator,
)

from i2icli.errors import CheckpointError
from i2icli.interop.network import Network, fill
from i2icli.interop.recognise import recognise
from i2icli.networks.resnet import ResnetGenerator

WHOLE = {
    "resnet": (resnet().state_dict(), "ResNet generator of width 4, 3 blocks, anti-aliased"),
    "joligen": (in_joligen_layout(resnet(plain=True)), "under joliGEN's names"),
    "patchgan": (patchgan().state_dict(), "PatchGAN discriminator of width 4, 2 layers"),
    "batch norm": (patchgan(norm="batch").state_dict(), "PatchGAN discriminator"),
    "projection": (projector(resnet()).state_dict(), "projection head of 5 layers"),
    "stylegan2": (stylegan2().state_dict(), "StyleGAN2 generator of 8 channels and up, 4 blocks"),
    "stylegan2 discriminator": (stylegan2_discriminator().state_dict(), "crops of 64 pixels"),
    "munit": (autoencoder().state_dict(), "MUNIT auto-encoder of width 4, 2 blocks, styles of 3"),
    "munit discriminator": (munit_discriminator().state_dict(), "width 4, 2 layers, 2 scales"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_networks_are_named(name):
    weights, title = WHOLE[name]
    assert title in recognise(weights, source="file").title


@pytest.mark.parametrize("name", WHOLE)
def test_incomplete_or_misshapen_networks_are_recognised_or_refused(name):
    weights, _ = WHOLE[name]
    ends = set()
    for damaged in weights:
        without = {key: weight for key, weight in weights.items() if key != damaged}
        for changed in (
            without,
            {**weights, damaged: torch.ones(2)},
            {**weights, damaged: torch.ones(())},
            {**without, f"other.{damaged}": weights[damaged]},
        ):
            with suppress(CheckpointError):
                ends.add(type(recognise(changed, source="file")))
    assert ends <= {Network}


def test_filling_a_network_is_all_or_nothing():
    whole = recognise(resnet().state_dict(), source="file")
    weights = {**whole.weights, "model.8.weight": torch.full((16, 8, 3, 3), float("inf"))}
    network = ResnetGenerator(width=4, blocks=3)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    broken = Network(whole.family, whole.role, whole.title, {}, whole.channels, weights)
    with pytest.raises(CheckpointError, match=r"1 not finite \(model\.8\.weight\)"):
        fill(network, broken, source="file")
    assert all(torch.equal(before[name], w) for name, w in network.state_dict().items())
