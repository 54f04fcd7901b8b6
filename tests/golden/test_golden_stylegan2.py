import pytest
import torch
from golden import golden_cases

from i2icli.losses.gan import discriminator_gan_loss
from i2icli.losses.penalty import logits_with_slope, r1_penalty
from i2icli.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator


@pytest.mark.parametrize("case", golden_cases(r"sincut_stylegan2_generator"))
def test_single_image_generator_gives_the_recorded_image_and_features(case):
    options = case.options
    generator = StyleGAN2Generator(
        width=options["ngf"],
        resolution=options["crop_size"],
        downsamplings=options["stylegan2_G_num_downsampling"],
        blocks=options["n_blocks"],
    )
    fresh_filters = {k: v.clone() for k, v in generator.state_dict().items() if "kernel" in k}
    generator.load_state_dict(case.state_dict("G."))
    layers, images = options["nce_layers"], case.tensors["input"]
    noise = [case.tensors[f"noise.{number}"] for number in case.numbers(r"noise\.(\d+)")]
    image, features = generator(images, layers, noise)

    case.close(image, "output")
    for layer, feature in zip(layers, features, strict=True):
        case.close(feature, f"feat.{layer}")
    for layer, again in zip(layers, generator.encode(images, layers), strict=True):
        case.close(again, f"feat.{layer}")
    assert [tuple(part.shape) for part in noise] == generator.noise_shapes(images)
    assert generator.feature_channels(layers) == [feature.shape[1] for feature in features]
    assert fresh_filters
    for name, kept in fresh_filters.items():
        case.close(kept, f"G.{name}")


@pytest.mark.parametrize("case", golden_cases(r"sincut_stylegan2_discriminator"))
def test_single_image_discriminator_gives_the_recorded_losses_and_gradients(case):
    discriminator = StyleGAN2Discriminator(
        width=case.options["ndf"], resolution=case.options["crop_size"]
    )
    discriminator.load_state_dict(case.state_dict("D."))
    real, slope = logits_with_slope(case.tensors["real"], discriminator)
    fake = discriminator(case.tensors["fake"])
    losses = {
        who: discriminator_gan_loss(logits, is_real=who == "real", mode="nonsaturating")
        for who, logits in (("real", real), ("fake", fake))
    }
    penalty = case.options["lambda_R1"] * r1_penalty(slope)
    total = 0.5 * (losses["fake"] + losses["real"]) + penalty

    case.close(real, "pred_real")
    case.close(fake, "pred_fake")
    case.close(slope, "grad_real_image")
    for who, loss in losses.items():
        case.close_to(loss, case.tensors[f"loss_{who}"].mean(), f"loss_{who}")
    case.close(penalty, "r1")
    case.close(total, "loss_D")
    weights = dict(discriminator.named_parameters())
    recorded = case.state_dict("grad.D.")
    assert recorded
    gradients = torch.autograd.grad(total, [weights[name] for name in recorded])
    for name, gradient in zip(recorded, gradients, strict=True):
        case.close(gradient, f"grad.D.{name}")
