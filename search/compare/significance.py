"""Tests of whether two models differ on the test patients by more than the choice of the patients explains.

Each test patient has a Dice with either model; only the difference of the two counts. Two tests must agree, because
they fail in different ways: a bootstrap over patients of the mean difference, and Wilcoxon's signed-rank test, which a
single outlier cannot sway. Both speak of other patients like these, not of other trainings: a second search would
promote another model.

All pairs are tested, so nobody has to name a baseline, and the order of the experiments does not matter. Holm's
correction keeps the probability of any false difference among them at 5 %.
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
"""With five patients, p is at least 0.06 in the signed-rank test, even if all of them are better."""

LEVEL = 0.05
"""The level of significance."""

NUM_RESAMPLES = 10_000
"""Samples of the bootstrap."""

MAX_SIGNS = 13
"""Maximum number of patients for which all 2**n signs are tried where differences are tied."""

DECIMALS = 12
"""Decimals that a difference is rounded to: values that differ only by floating-point error must count as ties."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Test Dice of the second experiment's model minus that of the first's, over their common patients."""

    num_patients: int
    mean: Interval
    """The mean difference with its 95 % bootstrap interval over patients."""

    num_better: int
    """Patients for whom the second model is better."""

    num_worse: int
    p_bootstrap: float
    p_wilcoxon: float
    """Like `p_bootstrap`, two-sided and not corrected."""

    holm_bootstrap: float = math.nan
    holm_wilcoxon: float = math.nan
    """The p-values corrected for all pairs that were tested; nan before that."""

    @property
    def num_equal(self) -> int:
        """Patients for whom both models have the same Dice."""
        return self.num_patients - self.num_better - self.num_worse

    @property
    def is_significant(self) -> bool:
        """Whether both corrected p-values are below LEVEL."""
        return max(self.holm_bootstrap, self.holm_wilcoxon) < LEVEL


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two experiments and the difference between their models."""

    first: str
    second: str
    difference: Difference | None
    """None where they were not tested."""

    reason: str = ""
    """Why they were not tested."""

    reservations: tuple[str, ...] = ()
    """What a reader must know about the test."""

    @property
    def title(self) -> str:
        """The pair in words: `second minus first`."""
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
    """Return every pair of experiments, tested where that is possible, with p-values corrected for all of them."""
    pairs = [compare_two(first, second) for first, second in combinations(experiments, 2)]
    differences = [pair.difference for pair in pairs if pair.difference]
    bootstraps = holm([one.p_bootstrap for one in differences])
    ranks = holm([one.p_wilcoxon for one in differences])
    corrected = (
        replace(one, holm_bootstrap=bootstrap, holm_wilcoxon=rank)
        for one, bootstrap, rank in zip(differences, bootstraps, ranks, strict=True)
    )
    return [replace(pair, difference=next(corrected)) if pair.difference else pair for pair in pairs]


def compare_two(first: Experiment, second: Experiment) -> Pair:
    """Return two experiments with their difference, not corrected for other pairs, or the reason why there is none."""
    if reason := _why_not(first, second):
        return Pair(first=first.name, second=second.name, difference=None, reason=reason)
    one, other = dices(first), dices(second)
    differences = [other[patient] - one[patient] for patient in sorted(one.keys() & other.keys())]
    if len(differences) < MIN_PATIENTS:
        reason = (
            f"{len(differences)} test patient(s) have a Dice with both models, and with fewer than {MIN_PATIENTS} no "
            "test can show a difference"
        )
        return Pair(first=first.name, second=second.name, difference=None, reason=reason)
    return Pair(
        first=first.name,
        second=second.name,
        difference=paired_difference(differences),
        reservations=_reservations(first, second),
    )


def dices(experiment: Experiment) -> dict[str, float]:
    """Return the test Dice by patient; patients whose Dice is undefined are left out."""
    patients = experiment.metrics.test_patients if experiment.metrics else ()
    return {row.patient: row.dice for row in patients if math.isfinite(row.dice)}


def paired_difference(differences: Sequence[float]) -> Difference:
    """Return the tests of paired differences; ties and zeros are handled in both."""
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
    """Return the two-sided p-value of a bootstrap of the mean difference.

    It is twice the fraction of samples whose mean is on the rarer side of zero; a mean of zero counts on both sides.
    Patients are drawn as for the interval of the mean, so p is below 0.05 where that interval excludes zero. p is never
    0, because the data count as a sample themselves (Davison and Hinkley 1997, Bootstrap Methods and their Application,
    section 4.2).
    """
    drawn = np.random.default_rng(seed).integers(len(differences), size=(NUM_RESAMPLES, len(differences)))
    means = np.round(differences[drawn].mean(1), DECIMALS)
    beyond = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (NUM_RESAMPLES + 1))


def signed_rank_p(differences: np.ndarray) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test, without zeros as in his paper; 1 for zeros alone."""
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0
    has_ties = len(np.unique(np.abs(nonzero))) < len(nonzero)
    # Older versions of SciPy use the distribution for data without ties, unless all signs are tried.
    method = PermutationMethod(n_resamples=2**MAX_SIGNS) if has_ties and len(nonzero) <= MAX_SIGNS else "auto"
    # SciPy's own annotations know neither a method that is not a string nor the type of the result.
    return float(wilcoxon(nonzero, method=method).pvalue)  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]


def holm(ps: Sequence[float]) -> list[float]:
    """Return the p-values in their order, corrected for multiple testing.

    Reference: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    corrected = [math.nan] * len(ps)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        largest = max(largest, (len(ps) - rank) * ps[place])
        corrected[place] = min(1.0, largest)
    return corrected


def _why_not(first: Experiment, second: Experiment) -> str | None:
    """Return why two experiments cannot be tested against each other, or None if they can."""
    without = [one.name for one in (first, second) if one.metrics is None]
    if without:
        return f"no model was promoted in {' and '.join(without)}, so there are no test scores"
    if max(map(len, (first.regions, second.regions))) > 1 and first.regions != second.regions:
        return "they segment different regions"
    one, other = first.patients("test"), second.patients("test")
    if one != other:
        return f"their test patients differ: {len(one)} and {len(other)}, {len(one & other)} of them the same"
    if first.record.data.fingerprint == second.record.data.fingerprint:
        return None
    if first.preparation == second.preparation:
        return "the pixels of their patients differ (data.fingerprint), although the patients have the same names"
    # The fingerprint also covers the preprocessing; only the masks tell whether the patients are the same.
    if _truths(first) != _truths(second):
        return "the masks of their test patients differ in size or in tumour pixels, although the names are the same"
    return None


def _reservations(first: Experiment, second: Experiment) -> tuple[str, ...]:
    found = []
    if first.patients("train") != second.patients("train"):
        found.append("the models were trained on different patients")
    if first.record.data.fingerprint != second.record.data.fingerprint:
        found.append("slices were preprocessed differently; only the masks show that the patients are the same")
    found += [
        f"{one.name} scored the test patients {times} times, so its scores are too optimistic if a choice used them"
        for one in (first, second)
        if one.metrics and (times := one.metrics.num_test_scorings) > 1
    ]
    return tuple(found)


def _truths(experiment: Experiment) -> dict[str, tuple[int, int, int]]:
    patients = experiment.metrics.test_patients if experiment.metrics else ()
    return {row.patient: (row.num_slices, row.num_pixels, row.true_pixels) for row in patients}
