"""A residual generator, in every method that has the residual network."""

import pytest
import torch
from tiny import batch_for, tiny_config, tiny_document, tiny_method

from i2icli.config.document import config_document
from i2icli.config.method import ResnetGeneratorConfig, Task
from i2icli.errors import ConfigError
from i2icli.methods import METHODS
from i2icli.methods.shared.configure import restore_config
from i2icli.networks.resnet import add_change

NAMES = [
    name
    for name in sorted(METHODS)
    if isinstance(getattr(METHODS[name].Config(), "generator", None), ResnetGeneratorConfig)
]
RESIDUAL = {"width": 4, "blocks": 2, "residual": True}


def test_methods_with_a_residual_network_are_named():
    assert NAMES == ["cut", "cyclegan", "qs-attn", "sesim", "src-hdce"]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_translation_is_the_source(name):
    method, batch = tiny_method(name, generator=RESIDUAL), batch_for(name)
    start = add_change(batch.real_a, torch.zeros(()))
    for direction in method.directions:
        with torch.no_grad():
            translated = method.translate(batch.real_a, direction=direction).images
        assert 0 < (translated - start).abs().mean() < 0.03


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_and_reach_all_weights(name):
    method = tiny_method(name, generator=RESIDUAL)
    for player, terms in method.losses(batch_for(name)):
        weights = method.players[player].trainable()
        for gradient in torch.autograd.grad(sum(terms.values()), weights):
            assert gradient.isfinite().all()
            assert gradient.any()


@pytest.mark.parametrize("name", NAMES)
def test_unequal_channels_are_refused(name):
    config = METHODS[name].Config(**tiny_document(name, generator=RESIDUAL))
    with pytest.raises(ValueError, match="channels_a == data.channels_b, got 3 and 1"):
        METHODS[name](config, Task(channels_a=3, channels_b=1))


def test_the_refusal_names_the_setting():
    with pytest.raises(
        ValueError, match=r"method\.generator\.residual adds to the source.* set it to false"
    ):
        ResnetGeneratorConfig(residual=True).check_channels(1, 3)


def test_a_configuration_of_unequal_channels_is_refused_before_anything_is_built():
    document = config_document(tiny_config("sesim", generator=RESIDUAL))
    document["data"]["channels_b"] = 1
    with pytest.raises(ConfigError, match=r"method\.generator\.residual"):
        restore_config(document)
