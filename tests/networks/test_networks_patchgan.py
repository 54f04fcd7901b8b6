import pytest
import torch

from i2icli.networks.patchgan import PatchDiscriminator


def numbers(discriminator, kind):
    names = [name for name in discriminator.state_dict() if name.endswith(kind)]
    return [int(name.split(".")[1]) for name in names]


@pytest.mark.parametrize(
    ("antialias", "layers", "weights", "filters"),
    [
        (True, 3, [0, 3, 7, 11, 14], [2, 6, 10]),
        (False, 3, [0, 2, 5, 8, 11], []),
        (True, 1, [0, 3, 6], [2]),
        (False, 1, [0, 2, 5], []),
        (False, 5, [0, 2, 5, 8, 11, 14, 17], []),
    ],
)
def test_discriminator_numbers_its_modules_as_released(antialias, layers, weights, filters):
    discriminator = PatchDiscriminator(width=2, layers=layers, antialias=antialias)
    assert numbers(discriminator, "weight") == weights
    assert numbers(discriminator, "bias") == weights
    assert numbers(discriminator, "filt") == filters


@pytest.mark.parametrize("antialias", [True, False])
def test_full_discriminator_has_the_released_size(antialias):
    with torch.device("meta"):
        discriminator = PatchDiscriminator(antialias=antialias)
        logits = discriminator(torch.empty(1, 3, 256, 256))
    assert sum(weight.numel() for weight in discriminator.parameters()) == 2_764_737
    assert logits.shape == (1, 1, 30, 30)


def test_widths_stop_doubling_at_eight_times_the_first():
    discriminator = PatchDiscriminator(width=2, layers=5, antialias=False)
    shapes = [w.shape[0] for name, w in discriminator.named_parameters() if "weight" in name]
    assert shapes == [2, 4, 8, 16, 16, 16, 1]


def test_inner_convolutions_have_no_bias_before_a_batch_norm():
    names = set(PatchDiscriminator(width=2, antialias=False, norm="batch").state_dict())
    assert "model.2.bias" not in names
    assert {"model.0.bias", "model.11.bias", "model.3.running_var"} <= names


@pytest.mark.parametrize("antialias", [True, False])
def test_logits_of_a_batch_are_those_of_its_pictures(antialias):
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, width=4, layers=2, antialias=antialias)
    images = torch.rand(2, 1, 24, 32) * 2 - 1
    together = discriminator(images)
    alone = torch.cat([discriminator(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
