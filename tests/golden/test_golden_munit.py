import re

import pytest
import torch
from golden import all_cases, golden_cases
from torch.nn import functional as F

from i2icli.losses.gan import discriminator_gan_loss, generator_gan_loss
from i2icli.networks.munit import MultiScaleDiscriminator, StyleAutoencoder
from i2icli.networks.munit_blocks import AdaptiveInstanceNorm, ImageLayerNorm


@pytest.mark.parametrize("case", golden_cases(r"munit_adain_layernorm"))
def test_norms_give_the_recorded_values(case):
    for batch in case.numbers(r"b(\d+)\.x"):
        recorded = case.state_dict(f"b{batch}.")
        images = recorded["x"]
        shifts, scales = (
            recorded[f"adain_{name}"].view(images.shape[:2]) for name in ("bias", "weight")
        )
        adapted = AdaptiveInstanceNorm(images.shape[1])(images, shifts, scales)
        case.close(adapted, f"b{batch}.adain_out")
        norm = ImageLayerNorm(images.shape[1])
        norm.load_state_dict({name: recorded[f"ln_{name}"] for name in ("gamma", "beta")})
        case.close(norm(images), f"b{batch}.ln_out")


def build_judge(case):
    options = case.options["dis"]
    judge = MultiScaleDiscriminator(
        3, width=options["dim"], layers=options["n_layer"], scales=options["num_scales"]
    )
    judge.load_state_dict(case.state_dict("D."))
    return judge


def recorded_judge():
    """Return the judge of domain A, whose weights are in a case of its own."""
    return build_judge(next(case for case in all_cases() if case.name == "munit_discriminator"))


@pytest.mark.parametrize("case", golden_cases(r"munit_discriminator"))
def test_discriminator_gives_the_recorded_maps_losses_and_gradients(case):
    judge = build_judge(case)
    maps = {who: judge(case.tensors[who]) for who in ("fake", "real")}
    for who, judged in maps.items():
        for scale, logits in enumerate(judged):
            case.close(logits, f"out_{who}.{scale}")
    loss = sum(
        discriminator_gan_loss(judged, is_real=who == "real", mode="lsgan")
        for who, judged in maps.items()
    )
    case.close(loss, "loss_dis")
    case.close(generator_gan_loss(maps["fake"], mode="lsgan"), "loss_gen")
    check_gradients(case, {"D": judge}, loss)


def check_gradients(case, networks, loss):
    """Compare every recorded gradient, named `grad.NETWORK.WEIGHT`."""
    for name in case.state_dict("grad."):
        network, weight = name.split(".", 1)
        weights = dict(networks[network].named_parameters())
        (gradient,) = torch.autograd.grad(loss, weights[weight], retain_graph=True)
        case.close(gradient, f"grad.{name}")


def build_autoencoder(case, prefix):
    options = case.options["gen"]
    assert options["n_downsample"] == 2
    network = StyleAutoencoder(
        3,
        width=options["dim"],
        blocks=options["n_res"],
        style_size=options["style_dim"],
        mlp_width=options["mlp_dim"],
    )
    state = case.state_dict(prefix)
    # Dummies of the released adaptive norm; everything else has its very name here.
    unused = {name for name in state if re.search(r"norm\.running_(mean|var)$", name)}
    network.load_state_dict({name: state[name] for name in state.keys() - unused})
    return network


def released_shape(styles):
    return styles[..., None, None]


@pytest.mark.parametrize("case", golden_cases(r"munit_generator"))
def test_autoencoders_give_the_recorded_codes_pictures_losses_and_gradients(case):
    # In float64: in float32 these gradients are as far from the recorded ones as CPUs are apart.
    networks = {name: build_autoencoder(case, f"G{name}.").double() for name in ("a", "b")}
    content, styles, recon, terms = {}, {}, {}, {}
    for name, network in networks.items():
        images = case.tensors[f"x_{name}"].double()
        content[name], styles[name] = network.encode(images)
        recon[name] = network.decode(content[name], styles[name])
        terms[f"recon_x_{name}"] = F.l1_loss(recon[name], images)
        case.close(content[name], f"content_{name}")
        case.close(released_shape(styles[name]), f"style_{name}")
        case.close(recon[name], f"recon_{name}")
    translated = {}
    for source, target in (("a", "b"), ("b", "a")):
        sampled = case.tensors[f"sampled_style_{target}"].flatten(1).double()
        images = networks[target].decode(content[source], sampled)
        content_again, styles_again = networks[target].encode(images)
        terms[f"recon_c_{source}"] = F.l1_loss(content_again, content[source])
        terms[f"recon_s_{target}"] = F.l1_loss(styles_again, sampled)
        translated[target] = images
        case.close(images, f"x_{source}{target}")
        case.close(content_again, f"content_{source}_recon")
        case.close(released_shape(styles_again), f"style_{target}_recon")
    for name, value in terms.items():
        case.close(value, f"loss.{name}")
    judge = recorded_judge().double()
    terms["adv_a"] = generator_gan_loss(judge(translated["a"]), mode="lsgan")
    case.close(terms["adv_a"], "loss.adv_a")
    total = sum((10.0 if "_x_" in name else 1.0) * value for name, value in terms.items())
    case.close(total, "loss.total")
    check_gradients(case, {f"G{name}": network for name, network in networks.items()}, total)
