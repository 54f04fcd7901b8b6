import re
from math import prod, sqrt

import pytest
import torch
from golden import golden_cases

from i2icli.losses.gan import discriminator_gan_loss, generator_gan_loss
from i2icli.networks.heads import ProjectionHead
from i2icli.networks.layers import init_weights
from i2icli.networks.patchgan import PatchDiscriminator
from i2icli.networks.resnet import ResnetGenerator


def build_generator(case):
    options = case.options
    return ResnetGenerator(
        options["input_nc"],
        options["output_nc"],
        width=options["ngf"],
        blocks=int(re.search(r"(\d+)blocks", options["netG"])[1]),
        antialias_down=not options["no_antialias"],
        antialias_up=not options["no_antialias_up"],
        norm=options["normG"],
        dropout=not options["no_dropout"],
    )


@pytest.mark.parametrize("case", golden_cases(r"gen_"))
def test_generator_gives_the_recorded_image_and_features(case):
    generator = build_generator(case)
    fresh_filters = {k: v.clone() for k, v in generator.state_dict().items() if "filt" in k}
    generator.load_state_dict(case.state_dict("G."))
    if not case.options["no_dropout"]:
        generator.eval()
    layers = case.numbers(r"feat\.(\d+)")
    image, features = generator(case.tensors["input"], layers)
    encoded = generator.encode(case.tensors["input"], layers)

    case.close(image, "output")
    for layer, feature, again in zip(layers, features, encoded, strict=True):
        case.close(feature, f"feat.{layer}")
        case.close(again, f"feat.{layer}")
    for layer in case.numbers(r"feat_before_relu\.(\d+)"):
        (alone,) = generator.encode(case.tensors["input"], [layer])
        case.close(alone, f"feat_before_relu.{layer}")
    assert generator.feature_channels(layers) == [feature.shape[1] for feature in features]
    for name, kept in fresh_filters.items():
        case.close(kept, f"G.{name}")
    wide, _ = generator.double()(case.tensors["input"].double())
    case.close(wide, "output_float64")


def build_discriminator(case):
    options = case.options
    return PatchDiscriminator(
        case.tensors["D.model.0.weight"].shape[1],
        width=options["ndf"],
        layers=options["n_layers"],
        antialias=not options["no_antialias"],
        norm=options["normD"],
    )


@pytest.mark.parametrize("case", golden_cases(r"disc_"))
def test_discriminator_gives_the_recorded_logits_losses_and_gradients(case):
    discriminator = build_discriminator(case)
    discriminator.load_state_dict(case.state_dict("D."))
    logits = {who: discriminator(case.tensors[f"input_{who}"]) for who in ("fake", "real")}
    for who, judged in logits.items():
        case.close(judged, f"pred_{who}")
    check_recorded_losses(case, logits)
    check_recorded_gradients(case, discriminator, logits)


def check_recorded_losses(case, logits):
    for name, expected in case.state_dict("loss.").items():
        mode, who, label = re.fullmatch(r"(\w+)\.(real|fake)_as_(real|fake)", name).groups()
        loss = discriminator_gan_loss(logits[who], is_real=label == "real", mode=mode)
        case.close_to(loss, expected.mean(), name)  # some are recorded image by image
        if label == "real" and mode != "hinge":
            case.close_to(generator_gan_loss(logits[who], mode=mode), expected.mean(), name)


def check_recorded_gradients(case, discriminator, logits):
    weights = dict(discriminator.named_parameters())
    for name, expected in case.state_dict("grad_").items():
        mode, weight = name.split(".", 1)
        loss = 0.5 * sum(
            discriminator_gan_loss(judged, is_real=who == "real", mode=mode)
            for who, judged in logits.items()
        )
        (gradient,) = torch.autograd.grad(loss, weights[weight], retain_graph=True)
        case.close_to(gradient, expected, f"grad_{name}")


def shapes_of(case):
    return {name: tuple(shape) for name, shape in case.entry["parameter_names_and_shapes"]}


def build_described(case):
    """Build the networks whose weights the case lists by name and shape."""
    shapes, options = shapes_of(case), case.options
    blocks = sum(name.endswith("conv_block.1.weight") for name in shapes)
    first = next(int(name.split(".")[2]) for name in shapes if "conv_block" in name)
    last = [shape for name, shape in shapes.items() if name.startswith("G.")][-1]
    heads = [shape[1] for name, shape in shapes.items() if re.match(r"F.*\.0\.weight", name)]
    judges = [name for name in shapes if re.match(r"D\..*weight", name)]
    return {
        "G": ResnetGenerator(
            shapes["G.model.1.weight"][1],
            last[0],
            width=options["ngf"],
            blocks=blocks,
            antialias_down="G.model.7.weight" not in shapes,
            antialias_up=f"G.model.{first + blocks}.weight" not in shapes,
        ),
        "D": PatchDiscriminator(
            shapes["D.model.0.weight"][1],
            width=options["ndf"],
            layers=len(judges) - 2,
            antialias="D.model.2.weight" not in shapes,
        ),
        "F": ProjectionHead(heads, options["netF_nc"]),
    }


@pytest.mark.parametrize("case", golden_cases(r"init_statistics"))
def test_fresh_weights_have_the_recorded_names_shapes_and_spread(case):
    torch.manual_seed(0)
    networks = build_described(case)
    named = {
        f"{letter}.{name}": weight
        for letter, network in networks.items()
        for name, weight in network.named_parameters()
    }
    assert {name: tuple(weight.shape) for name, weight in named.items()} == shapes_of(case)
    counts = {
        letter: sum(weight.numel() for weight in network.parameters())
        for letter, network in networks.items()
    }
    assert counts == case.entry["parameter_counts"]
    for kind, gain in case.options["initialisers"]:
        for network in networks.values():
            init_weights(network, kind, gain)
        recorded = case.tensors[f"{kind}.mean_std_absmax"].tolist()
        for (name, shape), (_, std, largest) in zip(shapes_of(case).items(), recorded, strict=True):
            check_spread(case, named[name], (prod(shape), std, largest), f"{kind} {name}")


def check_spread(case, weight, recorded, name):
    """Compare one drawn tensor with the statistics of another draw of its distribution."""
    count, std, largest = recorded
    if largest == 0:
        assert weight.abs().max() == 0, name
        return
    # two draws of n numbers: their deviations scatter by 1/sqrt(2n) each
    slack = float(case.tolerance["std_rtol"]) + 4 / sqrt(count)
    assert weight.std().item() == pytest.approx(std, rel=slack), name
    assert abs(weight.mean().item()) < 6 * std / sqrt(count), name
