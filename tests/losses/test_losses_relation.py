import pytest
import torch

from i2icli.losses.nce import patch_nce
from i2icli.losses.relation import decoupled_contrast, hardness_weights, relation_consistency


def _rows(batch=2, count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(batch, count, 5, generator=generator, dtype=torch.float64)
    return rows / rows.norm(dim=-1, keepdim=True)


def test_relation_is_the_summed_jensen_shannon_divergence():
    queries, keys = _rows(seed=1), _rows(seed=2)
    for picture, found in enumerate(relation_consistency(queries, keys)):
        ours = torch.softmax(queries[picture] @ queries[picture].T, dim=0)
        theirs = torch.softmax(keys[picture] @ keys[picture].T, dim=0)
        middle = (ours + theirs) / 2
        expected = 0.5 * ((ours * (ours / middle).log()) + (theirs * (theirs / middle).log())).sum()
        assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_relation_of_rows_with_themselves_is_zero_whatever_their_length():
    rows = _rows()
    torch.testing.assert_close(
        relation_consistency(3 * rows, rows), torch.zeros(2, dtype=torch.float64)
    )


def test_relation_gives_the_source_no_gradient_and_a_zero_row_a_finite_one():
    queries, keys = _rows(seed=1), _rows(seed=2).requires_grad_()
    queries[0, 0] = 0.0
    queries.requires_grad_()
    relation_consistency(queries, keys).sum().backward()
    assert keys.grad is None
    assert queries.grad.isfinite().all()


def test_weights_are_the_softmax_over_the_others_divided_by_its_largest():
    keys, gamma = _rows(seed=3), 0.7
    found = hardness_weights(keys, gamma=gamma)
    similar = torch.bmm(keys, keys.mT)
    similar[:, torch.arange(6), torch.arange(6)] = -10.0
    shares = torch.softmax(similar / gamma, dim=2)
    torch.testing.assert_close(found, shares / shares.amax(dim=2, keepdim=True), rtol=1e-5, atol=0)
    assert not found.requires_grad


def test_large_gamma_weighs_all_alike_and_small_gamma_the_hardest_alone():
    keys = _rows(seed=4)
    apart = ~torch.eye(6, dtype=torch.bool)
    assert hardness_weights(keys, gamma=1e6)[:, apart].min() > 0.9999
    assert (hardness_weights(keys, gamma=1e-4)[:, apart] > 0.5).sum() == 2 * 6


def test_value_without_weights_is_that_of_patch_nce():
    queries, keys = _rows(seed=5), _rows(seed=6)
    torch.testing.assert_close(decoupled_contrast(queries, keys), patch_nce(queries, keys))


def test_gradient_is_that_of_the_negatives_less_the_positive():
    queries, keys = _rows(seed=7).requires_grad_(), _rows(seed=8)
    weights = hardness_weights(keys, gamma=1.0)
    (found,) = torch.autograd.grad(decoupled_contrast(queries, keys, weights).mean(), queries)
    positive = (queries * keys).sum(dim=-1, keepdim=True)
    apart = ~torch.eye(6, dtype=torch.bool)
    negatives = (torch.bmm(queries, keys.mT) * weights)[:, apart].view(2, 6, 5)
    value = ((negatives - positive) / 0.07).logsumexp(dim=-1)
    (expected,) = torch.autograd.grad(value.mean(), queries)
    torch.testing.assert_close(found, expected)
