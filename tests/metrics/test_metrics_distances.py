"""FID, KID and their intervals, on made-up features."""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from i2icli.metrics.distances import (
    draw_subsets,
    fid,
    interval_about,
    kid,
    kid_interval,
    kid_of_subsets,
    kid_unbiased,
)

Rows = NDArray[np.float64]


def draw(random, count, size, *, shift=0.0):
    scale = np.linspace(0.2, 2.0, size)
    return np.abs(random.normal(size=(count, size))) * scale + shift


def gaussian(rows):
    return rows.mean(axis=0), np.cov(rows, rowvar=False)


def frechet_distance(one, two):
    """Return the distance of the sets' Gaussians by the eigenvalues of the covariances' product."""
    means, covariances = zip(gaussian(one), gaussian(two), strict=True)
    values = np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0.0)
    spread = sum(np.trace(covariance) for covariance in covariances) - 2 * np.sqrt(values).sum()
    return float(np.square(means[0] - means[1]).sum() + spread)


@pytest.mark.parametrize("seed", range(5))
def test_fid_equals_that_of_clean_fid_where_that_works(seed):
    clean_fid = pytest.importorskip("cleanfid.fid")
    random = np.random.default_rng(seed)
    one, two = draw(random, 90, 12), draw(random, 70, 12, shift=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = clean_fid.frechet_distance(*gaussian(one), *gaussian(two))
    assert fid(one, two)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("first", "second"), [(90, 70), (5, 70), (6, 4), (2, 2)])
def test_fid_of_features_equals_the_distance_of_their_gaussians(first, second):
    random = np.random.default_rng(first)
    one, two = draw(random, first, 12), draw(random, second, 12, shift=0.3)
    assert fid(one, two)[0] == pytest.approx(frechet_distance(one, two), rel=1e-6)


def test_fid_of_commuting_covariances_is_the_known_one():
    # Of diagonal covariances it is the sum of squared differences of standard deviations.
    def spread(*variances):
        reach = np.diag(np.sqrt(np.array(variances) * 5 / 2))
        return np.concatenate([reach, -reach])

    one, two = spread(1.0, 4.0, 0.0) + np.array([1.0, 2.0, 2.0]), spread(9.0, 0.0, 0.0)
    assert fid(one, two)[0] == pytest.approx(9.0 + (1 - 3) ** 2 + 2**2 + 0.0)


def test_fid_does_not_fail_on_singular_covariances():
    random = np.random.default_rng(0)
    one, two = draw(random, 3, 64), draw(random, 4, 64)
    assert np.isfinite(fid(one, two)[0])
    assert fid(np.zeros((2, 64)), np.ones((2, 64)))[0] == pytest.approx(64.0)


def test_distance_of_a_set_to_itself_is_zero():
    rows = draw(np.random.default_rng(1), 30, 8)
    assert fid(rows, rows)[0] == pytest.approx(0.0, abs=1e-9)
    assert fid(rows, rows)[0] >= 0.0


def test_fid_does_not_depend_on_the_order_of_pictures_or_sets():
    random = np.random.default_rng(2)
    one, two = draw(random, 9, 16), draw(random, 40, 16)
    expected = fid(one, two)[0]
    assert fid(two, one)[0] == pytest.approx(expected, rel=1e-10)
    assert fid(one[::-1], random.permutation(two))[0] == pytest.approx(expected, rel=1e-10)


def test_features_that_are_not_numbers_are_refused():
    rows = draw(np.random.default_rng(3), 5, 4)
    broken = rows.copy()
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="not a finite number"):
        fid(rows, broken)
    with pytest.raises(ValueError, match="N >= 2"):
        fid(rows[:1], rows)
    with pytest.raises(ValueError, match="N >= 2"):
        kid(rows[:1], rows)


@pytest.mark.parametrize(("first", "second", "size"), [(60, 50, 20), (60, 50, 1000), (2, 3, 1000)])
def test_kid_equals_that_of_clean_fid_given_its_draws(first, second, size):
    clean_fid = pytest.importorskip("cleanfid.fid")
    random = np.random.default_rng(4)
    one, two = draw(random, first, 16), draw(random, second, 16, shift=0.1)
    before = np.random.get_state()
    np.random.seed(11)
    expected = clean_fid.kernel_distance(one, two, num_subsets=20, max_subset_size=size)
    np.random.set_state(before)
    found = kid(one, two, subsets=20, subset_size=size, seed=11)
    assert found == pytest.approx(expected, abs=1e-9)


def test_kid_leaves_the_global_draws_of_numpy_alone():
    rows = draw(np.random.default_rng(5), 12, 4)
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    kid(rows, rows + 1.0)
    assert np.random.random() == expected


def test_unbiased_kid_is_the_mean_over_all_pairs():
    random = np.random.default_rng(6)
    one, two = draw(random, 7, 5), draw(random, 6, 5)

    def kernel(x, y):
        return float((x @ y / 5 + 1) ** 3)

    within1 = np.mean([kernel(one[i], one[j]) for i in range(7) for j in range(7) if i != j])
    within2 = np.mean([kernel(two[i], two[j]) for i in range(6) for j in range(6) if i != j])
    across = np.mean([kernel(x, y) for x in one for y in two])
    assert kid_unbiased(one, two) == pytest.approx(within1 + within2 - 2 * across, rel=1e-10)


def test_kid_of_whole_sets_as_subsets_is_the_unbiased_one():
    random = np.random.default_rng(7)
    one, two = draw(random, 9, 5), draw(random, 9, 5)
    values = kid_of_subsets(one, two, draw_subsets(9, 9, size=9, count=3, seed=0))
    np.testing.assert_allclose(values, kid_unbiased(one, two), rtol=1e-9)


def test_unbiased_kid_of_two_draws_of_one_kind_is_zero_on_average():
    random = np.random.default_rng(8)
    values = [kid_unbiased(draw(random, 8, 4), draw(random, 6, 4)) for _ in range(600)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(600)


@pytest.mark.parametrize(
    ("first", "second", "size"), [(10, 12, 16), (30, 40, 64), (8, 8, 32), (100, 80, 6), (3, 3, 8)]
)
def test_interval_of_fid_holds_the_number_and_covers_the_expected_one(first, second, size):
    random = np.random.default_rng(size)
    values, held = [], []
    for _ in range(200):
        one, two = draw(random, first, size), draw(random, second, size, shift=0.2)
        value, error = fid(one, two)
        interval = interval_about(value, error)
        assert interval.low <= value <= interval.high
        values.append(value)
        held.append((interval.low, interval.high))
    expected = np.mean(values)
    coverage = np.mean([low <= expected <= high for low, high in held])
    # Of three pictures a spread cannot be told well.
    assert coverage >= (0.85 if first > 3 else 0.7)


def test_plain_percentile_bootstrap_of_fid_would_miss_the_number():
    random = np.random.default_rng(9)
    one, two = draw(random, 30, 64), draw(random, 40, 64, shift=0.2)
    draws = [
        fid(one[random.integers(0, 30, 30)], two[random.integers(0, 40, 40)])[0] for _ in range(100)
    ]
    value, error = fid(one, two)
    assert np.quantile(draws, 0.025) > value
    interval = interval_about(value, error)
    assert interval.low < value < interval.high


def test_error_of_fid_agrees_with_leaving_out_each_picture():
    random = np.random.default_rng(10)
    one, two = draw(random, 150, 5), draw(random, 120, 5, shift=0.2)
    value, error = fid(one, two)
    assert value == pytest.approx(frechet_distance(one, two), rel=1e-9)
    variance = 0.0
    for rows, other in ((one, two), (two, one)):
        left_out = [fid(np.delete(rows, i, axis=0), other)[0] for i in range(len(rows))]
        variance += (len(rows) - 1) * float(np.var(left_out))
    assert error == pytest.approx(np.sqrt(variance), rel=0.05)


@pytest.mark.parametrize(("first", "second", "size"), [(10, 12, 16), (60, 50, 8), (2, 3, 4)])
def test_interval_of_kid_holds_the_number_and_covers_the_expected_one(first, second, size):
    random = np.random.default_rng(size)
    values, held = [], []
    for _ in range(100):
        one, two = draw(random, first, size), draw(random, second, size, shift=0.2)
        value = kid_unbiased(one, two)
        interval = kid_interval(one, two, value, draws=200)
        assert interval.low <= value <= interval.high
        values.append(value)
        held.append((interval.low, interval.high))
    coverage = np.mean([low <= np.mean(values) <= high for low, high in held])
    assert coverage >= (0.85 if first > 3 else 0.5)
