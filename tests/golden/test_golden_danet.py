import pytest
import torch
from golden import golden_cases

from i2icli.networks.dual_attention import ChannelAttention, PositionAttention


def checked(case, network, prefix):
    """Compare one attention with the tensors under a prefix; return the names compared."""
    state = {
        name: tensor
        for name, tensor in case.state_dict(f"{prefix}.").items()
        if name in network.state_dict()
    }
    network.load_state_dict(state)
    features = case.tensors[f"{prefix}.input"].clone().requires_grad_()
    output = network(features)
    output.backward(case.tensors["grad_out"])
    case.close(output, f"{prefix}.output")
    case.close(network.weights(features), f"{prefix}.attention")
    assert features.grad is not None
    case.close(features.grad, f"{prefix}.grad_input")
    compared = {f"{prefix}.{name}" for name in (*state, "input", "output", "attention")}
    for name, weight in network.named_parameters():
        recorded = f"{prefix}.grad_gamma" if name == "gamma" else f"{prefix}.grad.{name}"
        assert weight.grad is not None
        case.close(weight.grad, recorded)
        compared.add(recorded)
    return compared | {f"{prefix}.grad_input"}


@pytest.mark.parametrize("case", golden_cases(r"danet_attention_"))
def test_dual_attention_gives_the_recorded_maps_and_gradients(case):
    position = PositionAttention(case.options["in_dim"], reduction=case.options["reduction"])
    compared = checked(case, position, "pam") | checked(case, ChannelAttention(), "cam")
    assert compared == set(case.tensors) - {"grad_out"}
    with torch.no_grad():
        assert not torch.equal(position.gamma, torch.zeros(1))
