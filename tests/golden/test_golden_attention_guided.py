import pytest
import torch
from golden import golden_cases
from torch.nn import functional as F

from i2icli.losses.gan import discriminator_gan_loss, generator_gan_loss
from i2icli.networks.attention_guided import AttentionNetwork, compose, keep_foreground

_UNITS = {
    "c1": "first",
    "c2": "second",
    "r1.c1": "block.first",
    "r1.c2": "block.second",
    "c4": "decoder.0",
    "c5": "decoder.1",
    "c6": "decoder.2",
}
_PARTS = {"weight": "conv", "bias": "conv", "scale": "norm", "offset": "norm"}
_PORT = {
    "encoder.0": "first",
    "encoder.3": "second",
    "encoder.6.residual.0": "block.first",
    "encoder.6.residual.3": "block.second",
    "decoder1.0": "decoder.0",
    "decoder2.0": "decoder.1",
    "decoder2.3": "decoder.2",
}
_LAYOUTS = {"released": "released", "intended": "paper"}


def renamed(recorded):
    """Return recorded weights under our names."""
    named = {}
    for name, weight in recorded.items():
        unit, part = name.rsplit(".", 1)
        named[f"{_UNITS[unit]}.{_PARTS[part]}.{part}"] = weight
    return named


@pytest.mark.parametrize("case", golden_cases(r"agi2i_attention_(released|intended)"))
def test_attention_network_gives_the_recorded_map(case):
    layout = _LAYOUTS[case.options["layout"]]
    network = AttentionNetwork(width=case.options["ngf"], layout=layout)
    network.load_state_dict(renamed(case.state_dict("w.")))
    case.close(network.encode(case.tensors["input"]), "after_resblock")
    case.close(network(case.tensors["input"]), "output")


@pytest.mark.parametrize("case", golden_cases(r"agi2i_attention_port"))
def test_layout_of_the_port_gives_the_recorded_map(case):
    network = AttentionNetwork(width=case.options["ngf"], layout="port")
    weights = case.state_dict("A.").items()
    network.load_state_dict(
        {f"{_PORT[name.removesuffix('.weight')]}.conv.weight": weight for name, weight in weights}
    )
    case.close(network(case.tensors["input"]), "output")


@pytest.mark.parametrize("case", golden_cases(r"agi2i_composition"))
def test_composition_masks_losses_and_gradients_are_the_recorded_ones(case):
    recorded = case.tensors
    tau = case.options["tau"]
    generated = recorded["generated"].clone().requires_grad_()
    attention = recorded["a"].clone().requires_grad_()
    composed = compose(generated, recorded["s"], attention)
    shown = keep_foreground(composed, attention, tau)
    case.close(composed, "composed")
    case.close(keep_foreground(torch.ones_like(attention), attention, tau), "mask")
    case.close(shown, "d_input")
    case.close(keep_foreground(composed, attention, 0.0), "d_input_before_switch")
    case.close(keep_foreground(recorded["t"], recorded["a_t"], tau), "d_input_real")

    case.close(10 * F.l1_loss(recorded["cycled"], recorded["s"]), "loss_cycle")
    judged = [
        discriminator_gan_loss(recorded[f"pred_{who}"], is_real=who == "real", mode="lsgan")
        for who in ("real", "fake")
    ]
    case.close(0.5 * (judged[0] + judged[1]), "loss_D")
    case.close(generator_gan_loss(recorded["pred_fake"], mode="lsgan"), "loss_G_adv")

    gradients = torch.autograd.grad(shown, (attention, generated), recorded["grad_d_input"])
    case.close(gradients[0], "grad_a")
    case.close(gradients[1], "grad_generated")
