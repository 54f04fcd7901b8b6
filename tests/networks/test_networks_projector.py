import pytest
import torch

from i2icli.networks.heads import ProjectionHead, scale_to_unit


def test_full_projector_has_the_released_names_and_number_of_weights():
    with torch.device("meta"):
        projector = ProjectionHead([3, 128, 256, 256, 256])
    assert sum(weight.numel() for weight in projector.parameters()) == 560_384
    assert set(projector.state_dict()) == {
        f"mlp_{index}.{place}.{kind}"
        for index in range(5)
        for place in (0, 2)
        for kind in ("weight", "bias")
    }


def test_projector_uses_the_perceptron_of_its_layer():
    torch.manual_seed(0)
    projector, rows = ProjectionHead([4, 6], dim=5), torch.randn(2, 3, 6)
    weights = projector.state_dict()
    hidden = (rows @ weights["mlp_1.0.weight"].T + weights["mlp_1.0.bias"]).relu()
    expected = hidden @ weights["mlp_1.2.weight"].T + weights["mlp_1.2.bias"]
    expected = expected / (expected.norm(dim=-1, keepdim=True) + 1e-7)
    torch.testing.assert_close(projector(rows, 1), expected)


def test_projector_without_perceptrons_only_scales():
    projector, rows = ProjectionHead([4, 6], use_mlp=False), torch.randn(2, 3, 6)
    assert list(projector.parameters()) == []
    torch.testing.assert_close(projector(rows, 1), scale_to_unit(rows))


def test_the_constant_is_added_to_the_length():
    short = torch.tensor([[3e-7, 4e-7]], dtype=torch.float64)
    assert scale_to_unit(short).norm().item() == pytest.approx(5 / 6)


def test_an_all_zero_vector_stays_zero_and_passes_no_gradient():
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    scaled = scale_to_unit(rows)
    (gradient,) = torch.autograd.grad(scaled[:, 0].sum(), rows)
    torch.testing.assert_close(scaled.detach(), torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0.0], [0.128, -0.096]]))


def test_scaling_has_the_right_gradient():
    torch.manual_seed(1)
    rows = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scale_to_unit, (rows,))


def test_scaling_runs_in_float32_under_autocast():
    projector, rows = ProjectionHead([4], dim=8), torch.randn(5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        projected = projector(rows, 0)
    assert projected.dtype == torch.float32
    torch.testing.assert_close(projected.norm(dim=-1), torch.ones(5), rtol=1e-5, atol=1e-5)
