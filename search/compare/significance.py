"""Whether two models differ on the test patients by more than the choice of patients explains.

Each test patient has two Dice values, one a model; only their difference counts. Two tests that fail in different ways
must agree: a bootstrap over patients, of the mean difference, and Wilcoxon's signed ranks, which one odd patient cannot
sway. Both speak of other patients like these, not of other trainings: a second search has another winner.

All pairs are tested, so that nobody has to say which experiment is the baseline, and the order of the names changes
nothing; Holm's correction keeps the chance of any false difference among them at 5 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.stats import PermutationMethod, wilcoxon

from model.scoring.summary import Interval, bootstrap_interval
from search.compare.experiments import Experiment

MIN_PATIENTS = 6
"""Of five patients all may be better, and the signed ranks still say p = 0.06."""

LEVEL = 0.05

NUM_RESAMPLES = 10_000

MAX_SIGNS = 13
"""Patients up to which all signs can be tried, where differences are tied."""

DECIMALS = 12
"""Of a difference: equal values differ by rounding alone, and must be ties."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Test Dice of the second experiment's model minus that of the first's, over the patients that both have."""

    num_patients: int
    mean: Interval
    """With its 95 % bootstrap interval over patients."""

    num_better: int
    """Patients for whom the second is better."""

    num_worse: int
    p_bootstrap: float
    p_wilcoxon: float
    """Both two-sided, of this pair alone."""

    holm_bootstrap: float = math.nan
    holm_wilcoxon: float = math.nan
    """Corrected for all pairs that were tested."""

    @property
    def num_equal(self) -> int:
        """Patients for whom both are the same."""
        return self.num_patients - self.num_better - self.num_worse

    @property
    def is_significant(self) -> bool:
        """Whether both tests, corrected, say so."""
        return max(self.holm_bootstrap, self.holm_wilcoxon) < LEVEL


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two experiments, and what can be said of their difference."""

    first: str
    second: str
    difference: Difference | None
    """None where there is no test."""

    reason: str = ""
    """Why there is none."""

    reservations: tuple[str, ...] = ()
    """What must be known of a test that there is."""

    @property
    def title(self) -> str:
        """What the difference is."""
        return f"{self.second} minus {self.first}"

    @property
    def verdict(self) -> str:
        """The outcome in a few words."""
        if self.difference is None:
            return "not tested"
        if not self.difference.is_significant:
            return "no difference shown"
        return f"{self.second if self.difference.mean.mean > 0 else self.first} is better"


def compare_pairs(experiments: Sequence[Experiment]) -> list[Pair]:
    """Return every pair of experiments, tested where that can be done."""
    pairs = [compare_two(first, second) for first, second in combinations(experiments, 2)]
    tested = [pair for pair in pairs if pair.difference]
    bootstraps = holm([pair.difference.p_bootstrap for pair in tested])
    ranks = holm([pair.difference.p_wilcoxon for pair in tested])
    corrected = iter(zip(bootstraps, ranks, strict=True))
    return [_corrected(pair, *next(corrected)) if pair.difference else pair for pair in pairs]


def compare_two(first: Experiment, second: Experiment) -> Pair:
    """Return the difference of two experiments, not corrected for others, or why there is none."""
    names = {"first": first.name, "second": second.name}
    if reason := _why_not(first, second):
        return Pair(**names, difference=None, reason=reason)
    one, other = dices(first), dices(second)
    differences = [other[patient] - one[patient] for patient in sorted(one.keys() & other.keys())]
    if len(differences) < MIN_PATIENTS:
        reason = f"{len(differences)} test patient(s) have a Dice in both, and below {MIN_PATIENTS} no test can show"
        return Pair(**names, difference=None, reason=f"{reason} a difference")
    return Pair(**names, difference=measure(differences), reservations=_reservations(first, second))


def dices(experiment: Experiment) -> dict[str, float]:
    """Return the test Dice by patient, where it is defined."""
    patients = experiment.metrics.test_patients if experiment.metrics else ()
    return {row.patient: row.dice for row in patients if math.isfinite(row.dice)}


def measure(differences: Sequence[float]) -> Difference:
    """Return what is to be said of paired differences; neither test is disturbed by ties or by zeros."""
    values = np.round(differences, DECIMALS)
    return Difference(
        num_patients=len(values),
        mean=bootstrap_interval(values.tolist(), num_resamples=NUM_RESAMPLES),
        num_better=int((values > 0).sum()),
        num_worse=int((values < 0).sum()),
        p_bootstrap=bootstrap_p(values),
        p_wilcoxon=signed_rank_p(values),
    )


def bootstrap_p(differences: np.ndarray, *, seed: int = 0) -> float:
    """Return twice the share of bootstrap samples whose mean lies on the smaller side of zero, zero itself on both.

    The patients are drawn as for the interval, so that p is below 0.05 where that leaves zero out. It is never 0: the
    data themselves count as a sample (Davison and Hinkley 1997, Bootstrap Methods and their Application, section 4.2).
    """
    drawn = np.random.default_rng(seed).integers(len(differences), size=(NUM_RESAMPLES, len(differences)))
    means = np.round(differences[drawn].mean(1), DECIMALS)
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (NUM_RESAMPLES + 1))


def signed_rank_p(differences: np.ndarray) -> float:
    """Return Wilcoxon's two-sided p; zeros are left out, as he did, and where nothing else is there it is 1."""
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0
    has_ties = len(np.unique(np.abs(nonzero))) < len(nonzero)
    # Older SciPy takes a distribution without ties for one with them, unless all signs are tried.
    method = PermutationMethod(n_resamples=2**MAX_SIGNS) if has_ties and len(nonzero) <= MAX_SIGNS else "auto"
    return float(wilcoxon(nonzero, method=method).pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """Return the p-values, corrected for being several, in their order.

    Reference: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    corrected = [math.nan] * len(ps)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        largest = max(largest, (len(ps) - rank) * ps[place])
        corrected[place] = min(1.0, largest)
    return corrected


def _corrected(pair: Pair, bootstrap: float, ranks: float) -> Pair:
    return replace(pair, difference=replace(pair.difference, holm_bootstrap=bootstrap, holm_wilcoxon=ranks))


def _why_not(first: Experiment, second: Experiment) -> str | None:
    """Return why two experiments cannot be tested against each other; None if they can."""
    without = [one.name for one in (first, second) if one.metrics is None]
    if without:
        return f"nothing was promoted in {' and '.join(without)}, so there are no test scores"
    one, other = first.patients("test"), second.patients("test")
    if one != other:
        return f"their test patients differ: {len(one)} and {len(other)}, of which {len(one & other)} are the same"
    if first.record.data.fingerprint == second.record.data.fingerprint:
        return None
    if first.preparation == second.preparation:
        return "their patients' pixels differ (data.fingerprint), though the patients have the same names"
    # The fingerprint covers the preprocessing too; the masks, in their own size, tell whether they are the same.
    if _truths(first) != _truths(second):
        return "their test patients' masks differ in size or in tumour pixels, though the patients have the same names"
    return None


def _reservations(first: Experiment, second: Experiment) -> tuple[str, ...]:
    found = []
    if first.patients("train") != second.patients("train"):
        found.append("they were trained on different patients")
    if first.record.data.fingerprint != second.record.data.fingerprint:
        found.append("slices were prepared differently; that the patients are the same is known by their masks alone")
    found += [
        f"{one.name} scored the test patients {times} times, and who chooses among scores makes them too good"
        for one in (first, second)
        if one.metrics and (times := one.metrics.num_test_scorings) > 1
    ]
    return tuple(found)


def _truths(experiment: Experiment) -> dict[str, tuple[int, int, int]]:
    patients = experiment.metrics.test_patients if experiment.metrics else ()
    return {row.patient: (row.num_slices, row.num_pixels, row.true_pixels) for row in patients}
