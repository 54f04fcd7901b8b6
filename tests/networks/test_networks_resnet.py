import pytest
import torch
from torch import nn
from torch.nn import functional as F

from i2icli.networks.layers import init_weights
from i2icli.networks.norm import InstanceNorm
from i2icli.networks.resample import Downsample, ReflectionPad, Upsample
from i2icli.networks.resnet import ResnetBlock, ResnetGenerator, add_change


def tiny(**options):
    torch.manual_seed(0)
    return ResnetGenerator(**{"width": 4, "blocks": 2, **options})


def pictures(batch=1, size=(16, 12)):
    torch.manual_seed(1)
    return torch.rand(batch, 3, *size) * 2 - 1


def weight_numbers(generator):
    """Return the numbers of the modules that carry weights, blocks left out."""
    return [
        number
        for number, module in enumerate(generator.model)
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    ]


@pytest.mark.parametrize(
    ("down", "up", "weights", "filters", "blocks"),
    [
        (True, True, [1, 4, 8, 22, 26, 30], [7, 11, 21, 25], 12),
        (False, False, [1, 4, 7, 19, 22, 26], [], 10),
        (True, False, [1, 4, 8, 21, 24, 28], [7, 11], 12),
        (False, True, [1, 4, 7, 20, 24, 28], [19, 23], 10),
    ],
)
def test_generator_numbers_its_modules_as_released(down, up, weights, filters, blocks):
    with torch.device("meta"):
        generator = ResnetGenerator(antialias_down=down, antialias_up=up)
    keys = {f"model.{n}.{kind}" for n in weights for kind in ("weight", "bias")}
    keys |= {f"model.{number}.filt" for number in filters}
    keys |= {
        f"model.{blocks + block}.conv_block.{place}.{kind}"
        for block in range(9)
        for place in (1, 5)
        for kind in ("weight", "bias")
    }
    assert set(generator.state_dict()) == keys


@pytest.mark.parametrize("antialias", [True, False])
def test_full_generator_has_the_released_number_of_weights(antialias):
    with torch.device("meta"):
        generator = ResnetGenerator(antialias_down=antialias, antialias_up=antialias)
    assert sum(weight.numel() for weight in generator.parameters()) == 11_378_179


def test_transposed_convolutions_store_input_channels_first():
    shapes = {name: weight.shape for name, weight in tiny(antialias_up=False).named_parameters()}
    assert shapes["model.14.weight"] == (16, 8, 3, 3)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("down", [True, False])
def test_generator_keeps_the_size_and_stays_in_range(down, up):
    generator = tiny(out_channels=1, antialias_down=down, antialias_up=up)
    images, features = generator(pictures(2))
    assert images.shape == (2, 1, 16, 12)
    assert images.abs().max() <= 1
    assert features == []


def test_layers_of_the_antialiased_generator_are_the_published_ones():
    kinds = [type(module) for module in tiny().model]
    conv, norm, relu = nn.Conv2d, InstanceNorm, nn.ReLU
    assert kinds == [
        *(ReflectionPad, conv, norm, relu),
        *(conv, norm, relu, Downsample),
        *(conv, norm, relu, Downsample),
        *(ResnetBlock, ResnetBlock),
        *(Upsample, conv, norm, relu),
        *(Upsample, conv, norm, relu),
        *(ReflectionPad, conv, nn.Tanh),
    ]


def test_taps_are_the_outputs_of_their_modules():
    generator, images = tiny(), pictures()
    layers = [0, 4, 8, 12, 13]
    _, features = generator(images, layers)
    for layer, feature in zip(layers, features, strict=True):
        torch.testing.assert_close(feature, generator.model[: layer + 1](images))


@pytest.mark.parametrize("antialias", [True, False])
def test_encode_gives_the_features_of_the_full_pass(antialias):
    generator, layers = tiny(antialias_down=antialias, antialias_up=antialias), [0, 2, 5, 9]
    _, features = generator(pictures(), layers)
    for one, other in zip(features, generator.encode(pictures(), layers), strict=True):
        assert torch.equal(one, other)


def test_encode_stops_after_the_last_tap():
    generator, entered = tiny(), []
    for number, module in enumerate(generator.model):
        module.register_forward_hook(lambda *_, number=number: entered.append(number))
    generator.encode(pictures(), [0, 4])
    assert entered == [0, 1, 2, 4]  # 3, an activation, runs as a part of the norm before it
    assert generator.encode(pictures(), []) == []


def test_a_tapped_norm_gives_its_value_after_the_relu_but_for_the_last_tap():
    # index 8 without anti-aliasing: the released code overwrites the norm's output in place
    generator, images = tiny(antialias_down=False, antialias_up=False), pictures()
    before = generator.model[:9](images)
    middle, _ = generator.encode(images, [8, 10])
    (last,) = generator.encode(images, [8])
    torch.testing.assert_close(middle, F.relu(before))
    torch.testing.assert_close(last, before)
    assert (last < 0).any()


def test_a_convolution_without_norm_is_overwritten_too():
    generator, images = tiny(norm="none"), pictures()
    first, _ = generator.encode(images, [4, 8])
    torch.testing.assert_close(first, F.relu(generator.model[:5](images)))


def test_gradient_reaches_the_weights_through_taps_and_image_alike():
    generator, images, layers = tiny(), pictures(), [4, 12]
    image, features = generator(images, layers)
    weights = dict(generator.named_parameters())
    weight = weights["model.1.weight"]
    (gradient,) = torch.autograd.grad(score(image, features), weight)
    exact = generator.double()
    image, features = exact(images.double(), layers)
    (expected,) = torch.autograd.grad(score(image, features), exact.model[1].weight)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-3, atol=1e-4)


def score(image, features):
    """Read the features as contrastive losses do, so that their gradient is channels-last."""
    rows = [feature.permute(0, 2, 3, 1).flatten(1, 2)[:, :5] for feature in features]
    return image.pow(2).sum() + sum(row.pow(3).sum() for row in rows)


@pytest.mark.parametrize("antialias", [True, False])
def test_feature_channels_are_those_of_the_features(antialias):
    generator = tiny(antialias_down=antialias, antialias_up=antialias)
    layers = list(range(len(generator.model)))
    _, features = generator(pictures(), layers)
    assert generator.feature_channels(layers) == [feature.shape[1] for feature in features]


@pytest.mark.parametrize("layers", [[4, 0], [4, 4]])
def test_layers_that_do_not_ascend_are_refused(layers):
    message = rf"layers must ascend without repeats, got \[4, {layers[1]}\]"
    with pytest.raises(ValueError, match=message):
        tiny()(pictures(), layers)


@pytest.mark.parametrize("layers", [[-1, 4], [0, 25]])
def test_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.24"):
        tiny().encode(pictures(), layers)


def test_dropout_moves_the_second_convolution_and_acts_in_training_only():
    generator, images = tiny(dropout=True), pictures()
    keys = {name for name, _ in generator.model[12].named_parameters()}
    assert keys == {f"conv_block.{n}.{kind}" for n in (1, 6) for kind in ("weight", "bias")}
    assert not torch.equal(generator(images)[0], generator(images)[0])
    generator.eval()
    assert torch.equal(generator(images)[0], generator(images)[0])


def test_batch_norm_has_running_statistics_and_leaves_out_biases_before_it():
    names = set(tiny(norm="batch").state_dict())
    assert "model.1.bias" not in names
    assert {"model.2.running_mean", "model.2.weight", "model.2.bias"} <= names
    assert "model.23.bias" in names  # the last convolution has no norm after it


def test_generator_without_norm_keeps_the_numbers():
    plain, normed = tiny(norm="none"), tiny()
    assert weight_numbers(plain) == weight_numbers(normed)
    assert "model.1.bias" not in plain.state_dict()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_batch_gives_what_its_pictures_give_alone(memory_format):
    generator = tiny().to(memory_format=memory_format)
    images = pictures(3).contiguous(memory_format=memory_format)
    together, _ = generator(images)
    alone = torch.cat([generator(image[None])[0] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_residual_generator_adds_its_change_before_the_tanh():
    generator, images = tiny(residual=True).double(), pictures(2).double()
    init_all(generator)
    translated, _ = generator(images)
    change = generator.change(images)
    before = nn.Sequential(*generator.model[:-1])(images)
    torch.testing.assert_close(change, before)
    expected = torch.tanh(0.5 * torch.log((1 + 0.97 * images) / (1 - 0.97 * images)) + before)
    torch.testing.assert_close(translated, expected)
    torch.testing.assert_close(add_change(images, change), translated)


def init_all(generator):
    for weight in generator.parameters():
        nn.init.normal_(weight, 0, 0.1)


@pytest.mark.parametrize("kind", ["xavier", "normal", "kaiming", "orthogonal"])
def test_the_first_translation_of_a_residual_generator_is_the_source(kind):
    generator = tiny(residual=True, width=16)
    init_weights(generator, kind, 0.02)
    images = pictures(2)
    translated, _ = generator(images)
    assert (translated - 0.97 * images).abs().mean() < 0.04
    assert not torch.equal(translated, add_change(images, torch.zeros_like(images)))


def test_a_residual_generator_has_the_weights_and_features_of_a_plain_one():
    plain, residual = tiny(), tiny(residual=True)
    residual.load_state_dict(plain.state_dict())
    layers = [0, 4, 12, 23, 24]
    images = pictures()
    ours, theirs = residual(images, layers)[1], plain(images, layers)[1]
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(ours[-1], residual(images)[0])  # the last module's output


def test_a_change_is_added_in_float32_under_autocast_and_to_what_is_beyond_the_range():
    generator, images = tiny(residual=True), 1.2 * pictures()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        translated, _ = generator(images)
    assert translated.dtype == torch.float32
    assert (translated - 0.97 * images.clamp(-1, 1)).abs().mean() < 0.02
    assert translated.isfinite().all()


def test_a_residual_generator_of_unequal_channels_is_refused():
    with pytest.raises(ValueError, match="adds to 3 channels, it cannot make 1"):
        tiny(residual=True, out_channels=1)
