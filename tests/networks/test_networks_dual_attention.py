import pytest
import torch

from i2icli.networks import dual_attention
from i2icli.networks.dual_attention import ChannelAttention, DualAttention, PositionAttention
from i2icli.networks.resnet import ResnetGenerator


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_attention_starts_as_the_identity():
    given = features(2, 8, 5, 7)
    assert torch.equal(DualAttention(8).double()(given), given)


def test_channels_of_the_paper_gather_from_like_channels_and_released_ones_from_unlike():
    given = features(1, 4, 6, 6)
    flat = given[0].flatten(1)
    products = torch.stack([torch.stack([(a * b).sum() for b in flat]) for a in flat])
    paper = torch.exp(products) / torch.exp(products).sum(dim=1, keepdim=True)
    released = torch.exp(-products) / torch.exp(-products).sum(dim=1, keepdim=True)
    torch.testing.assert_close(ChannelAttention(form="paper").weights(given)[0], paper)
    torch.testing.assert_close(ChannelAttention(form="released").weights(given)[0], released)


@pytest.mark.parametrize("most", [1, 50, 200])
def test_portions_of_rows_give_what_the_whole_gives(monkeypatch, most):
    attention = PositionAttention(16).double()
    torch.nn.init.constant_(attention.gamma, 0.7)
    given = features(2, 16, 4, 5)
    with torch.no_grad():
        whole = attention(given)
        monkeypatch.setattr(dual_attention, "_MOST_WEIGHTS", most)
        torch.testing.assert_close(attention(given), whole, rtol=1e-12, atol=1e-12)


def test_memory_stays_bounded_at_evaluation(monkeypatch):
    seen = []
    real = dual_attention._attend

    def watched(queries, keys):
        weights = real(queries, keys)
        seen.append(weights.numel())
        return weights

    monkeypatch.setattr(dual_attention, "_attend", watched)
    monkeypatch.setattr(dual_attention, "_MOST_WEIGHTS", 1000)
    with torch.no_grad():
        PositionAttention(8)(torch.rand(1, 8, 10, 12))
    assert max(seen) <= 1000
    assert sum(seen) == 120 * 120


def test_whole_rows_serve_the_gradient(monkeypatch):
    monkeypatch.setattr(dual_attention, "_MOST_WEIGHTS", 1)
    attention = PositionAttention(8).double()
    torch.nn.init.constant_(attention.gamma, 0.3)
    given = features(1, 8, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(attention, (given,))


def test_half_precision_keeps_its_type_and_computes_in_float32():
    attention = DualAttention(8)
    torch.nn.init.constant_(attention.position.gamma, 0.5)
    torch.nn.init.constant_(attention.channel.gamma, 0.5)
    given = features(1, 8, 6, 6).float()
    with torch.no_grad():
        exact = attention(given)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = attention(given.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.1)


def test_generator_with_attention_keeps_numbers_names_and_at_first_the_pictures():
    plain = ResnetGenerator(width=4, blocks=2)
    attending = ResnetGenerator(width=4, blocks=2, attention="dual")
    missing = attending.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith("attention.") for name in missing.missing_keys)
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    layers = [0, 4, 13]
    expected, ours = plain(images, layers), attending(images, layers)
    assert torch.equal(ours[0], expected[0])
    torch.nn.init.constant_(attending.attention.position.gamma, 1.0)
    changed, features_now = attending(images, layers)
    assert not torch.equal(changed, expected[0])
    # The tap at the last block comes before the attention.
    assert all(torch.equal(a, b) for a, b in zip(features_now, expected[1], strict=True))
    assert torch.equal(attending.encode(images, layers)[-1], expected[1][-1])
