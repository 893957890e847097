"""The statistics of a comparison, against enumeration and values worked by hand."""

import itertools
import math

import numpy as np
import pytest

from search.compare.significance import bootstrap_p, holm, paired_difference, signed_rank_p
from tests.search.compare.reference import enumerated_signed_rank_p


def enumerated_bootstrap_p(differences) -> float:
    """Return what `bootstrap_p` estimates: over all samples of the patients with replacement."""
    means = np.array([sum(drawn) for drawn in itertools.product(differences, repeat=len(differences))])
    return min(1.0, 2 * min(float(np.mean(means <= 1e-9)), float(np.mean(means >= -1e-9))))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3, 4, 5, 6], 2 / 64),  # all better: one of 64 ways, and its mirror image
        ([-1, 2, 3, 4, 5, 6], 4 / 64),  # rank sums 0 and 1 below
        ([1, -2, 3, 4, 5, 6], 6 / 64),  # 0, 1 and 2
        ([1, 2, -3, 4, 5, 6], 10 / 64),  # 0, 1, 2, and 3 twice: 3, 1 + 2
        ([1, -1, 2, -2, 3, -3], 1.0),
        ([0, 0, 1, 2, 3], 2 / 8),  # zeros are left out
        ([5, 5, 5, 5, 5, 5], 2 / 64),  # ties
        ([0, 0, 0, 0, 0, 0], 1.0),
        ([0, 0, 0, 0, 0, -7], 1.0),
    ],
)
def test_signed_rank_p_by_hand(differences, p):
    assert signed_rank_p(np.array(differences, float)) == pytest.approx(p)


@pytest.mark.parametrize("seed", range(12))
def test_signed_rank_p_is_that_of_enumeration(seed):
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.3, 1, rng.integers(6, 12))
    if seed % 3 == 1:
        differences = differences.round()  # ties and zeros
    assert signed_rank_p(differences) == pytest.approx(enumerated_signed_rank_p(differences))


@pytest.mark.parametrize(
    "differences",
    [
        [0.5, 0.25, 0.125, -0.25, 0.375, -0.125],
        [0.5, -0.25, 0.0, 0.0, 0.25, 0.125],
        [0.5, -0.5, 0.25, -0.25, 0.125, -0.125],
        [-0.5, -0.25, 0.0625, -0.125, -0.25, 0.0],
    ],
)
def test_bootstrap_p_is_that_of_all_samples(differences):
    p = enumerated_bootstrap_p(differences)
    deviation = 2 * math.sqrt(p / 2 * (1 - p / 2) / 10_000)
    assert bootstrap_p(np.array(differences)) == pytest.approx(p, abs=4 * deviation + 2e-4)


def test_bootstrap_p_is_never_zero_and_is_one_for_zeros():
    assert bootstrap_p(np.full(6, 0.25)) == pytest.approx(2 / 10_001)
    assert bootstrap_p(np.zeros(6)) == 1.0


@pytest.mark.parametrize("shift", np.linspace(-0.1, 0.4, 26))
def test_bootstrap_p_and_interval_agree(shift):
    found = paired_difference(np.random.default_rng(1).normal(0, 0.2, 9) + shift)
    if abs(found.p_bootstrap - 0.05) > 0.001:  # at the border the interval lies between two samples
        assert (found.p_bootstrap < 0.05) == (found.mean.low > 0 or found.mean.high < 0)


def test_paired_difference_is_symmetric_in_the_two_models():
    differences = np.random.default_rng(3).normal(0.05, 0.1, 12)
    one, other = paired_difference(differences.tolist()), paired_difference((-differences).tolist())
    assert other.mean.mean == -one.mean.mean
    assert (other.mean.low, other.mean.high) == pytest.approx((-one.mean.high, -one.mean.low))
    assert (other.num_better, other.num_worse) == (one.num_worse, one.num_better)
    assert (other.p_bootstrap, other.p_wilcoxon) == (one.p_bootstrap, one.p_wilcoxon)


def test_paired_difference_counts_rounding_errors_as_ties():
    found = paired_difference([0.1 + 0.2 - 0.3, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert (found.num_better, found.num_equal, found.num_worse) == (0, 6, 0)
    assert (found.p_bootstrap, found.p_wilcoxon) == (1.0, 1.0)
    assert (found.mean.mean, found.mean.low, found.mean.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("ps", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 x .005, 3 x .01, 2 x .03, and .04 not below
        ([0.02], [0.02]),
        ([0.5, 0.6, 0.7], [1.0, 1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([], []),
    ],
)
def test_holm_by_hand(ps, expected):
    assert holm(ps) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_the_step_down_procedure_rejects(seed):
    ps = np.random.default_rng(seed).uniform(size=6) ** 3
    rejected = set()
    for step, place in enumerate(np.argsort(ps)):
        if ps[place] > 0.05 / (6 - step):
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(list(ps))) if p <= 0.05} == rejected
