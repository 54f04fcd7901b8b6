"""Every way to less cost gives the same terms and gradients, for every method."""

from functools import cache

import pytest
import torch
from lever_kit import KINDS, gradients_of_step
from torch import Tensor

from i2icli.config.sections import LeversConfig
from i2icli.methods import METHODS

LEVERS = list(LeversConfig.model_fields)
ALL_OFF = LeversConfig(**dict.fromkeys(LEVERS, False))
Seen = dict[str, dict[str, Tensor]]

each_kind = pytest.mark.parametrize("kind", list(KINDS))


@cache
def by_default(kind):
    return gradients_of_step(kind)


def check(kind, seen):
    expected = by_default(kind)
    assert list(seen) == list(expected)
    for player, values in expected.items():
        assert list(seen[player]) == list(values)
        largest = max(float(value.abs().max()) for value in values.values())
        for name, value in values.items():
            difference = float((seen[player][name] - value).abs().max())
            assert difference <= 1e-10 * max(1.0, largest), f"{player}: {name}: {difference:.1e}"


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("lever", LEVERS)
def test_a_step_is_the_same_with_one_lever_off(name, lever):
    check(name, gradients_of_step(name, levers=LeversConfig(**{lever: False})))


@each_kind
def test_a_step_is_the_same_with_all_levers_off(kind):
    check(kind, gradients_of_step(kind, levers=ALL_OFF))


@each_kind
def test_a_step_is_the_same_when_maps_are_computed_again(kind):
    check(kind, gradients_of_step(kind, recompute=True))


@each_kind
def test_a_step_is_the_same_with_channels_last(kind):
    check(kind, gradients_of_step(kind, layout=torch.channels_last))


@each_kind
def test_half_precision_loses_no_gradient(kind):
    # Autocast keeps its copies of the weights for a whole forward pass: one made without gradient
    # cuts the gradient off where the same weights are used again. Without copies nothing can.
    options = {"dtype": torch.float32, "precision": torch.bfloat16}
    kept = gradients_of_step(kind, **options)
    torch.set_autocast_cache_enabled(False)
    try:
        whole = gradients_of_step(kind, **options)
    finally:
        torch.set_autocast_cache_enabled(True)
    for player, values in whole.items():
        assert list(kept[player]) == list(values)
        assert list(values) == list(by_default(kind)[player])
        largest = max(float(value.norm()) for value in values.values())
        for name, value in values.items():
            difference = float((kept[player][name] - value).norm())
            assert difference <= 0.1 * float(value.norm()) + 0.01 * largest, f"{player}: {name}"
