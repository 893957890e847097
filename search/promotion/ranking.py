"""The rule that ranks the candidates, with the spread over patients as the measure of a real difference."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

import numpy as np
from jaxtyping import Float64

from data.patient import Patient
from model.scoring.scores import PatientScore
from model.settings import Settings
from search.config import SearchConfig
from search.promotion.candidates import Candidate, mean_dice, score
from search.record.gain import GainRecord, PairedGain, RunnerUp
from search.record.objectives import best_merits, costs, in_order_of_promotion

P_CLEAR = 0.2
"""The probability with which a search may promote another configuration than the default if all are equally good. With
four validation patients of LGG, promoting whatever was better by a standard error cost 0.006 to 0.019 of Dice on the
test patients, and this rule costs nothing; on synthetic patients, who are much alike, a lower probability would forgo
more of what a search finds (tests/benchmarks/LOG.md)."""

ROUNDING = 1e-9
"""Relative tolerance of a comparison with the standard error. If a single patient differs, gain and standard error are
equal except for rounding, and one patient must not decide."""


def rank_candidates(
    candidates: Sequence[Candidate],
    *,
    objectives: Sequence[str],
    dice_tolerance: float,
    ties: str,
    default_trial: int | None = None,
    num_compared: int | None = None,
) -> list[Candidate]:
    """Return the candidates, the winner first.

    With several objectives, the rule is that of search/record/objectives.py. With Dice alone and `ties` "best", the
    best mean wins. With `ties` "smaller", the smallest network wins of those that are not worse than the best by a
    standard error (`is_worse`), but a configuration other than the default only if it is clearly better than the
    default (`is_clear`). Of equal candidates, the one that was better during the search comes first, and then the
    earlier one.

    Args:
        num_compared: The configurations that were compared with the default until these candidates were left; None: the
            other candidates alone.
    """
    names = costs(objectives)
    ranked = in_order_of_promotion(
        candidates,
        lambda one: (-math.inf if math.isnan(one.dice) else one.dice, *best_merits(one.row, names)),
        dice_tolerance=dice_tolerance,
    )
    if names or ties == "best":
        return ranked
    default = best_of_trial(ranked, default_trial)
    num_compared = num_compared or sum(one.row.number != default_trial for one in ranked)
    eligible = [
        one
        for one in ranked
        if not default
        or one.row.number == default_trial
        or is_clear(default.dices, one.dices, num_compared=num_compared)
    ]
    tied = [one for one in eligible if not is_worse(one, eligible[0])]
    return sorted(tied, key=lambda one: one.num_parameters) + [one for one in ranked if one not in tied]


def rank_by(
    config: SearchConfig, candidates: Sequence[Candidate], *, num_compared: int | None = None
) -> list[Candidate]:
    """Return the candidates in the order of `rank_candidates` with the options of a search."""
    return rank_candidates(
        candidates,
        objectives=config.objective,
        dice_tolerance=config.dice_tolerance,
        ties=config.promotion.ties,
        default_trial=config.default_trial,
        num_compared=num_compared,
    )


def with_ensemble(
    candidates: Sequence[Candidate], num_members: int, patients: Sequence[Patient], settings: Settings
) -> list[Candidate]:
    """Return the candidates, preceded by an ensemble if that is worth its cost.

    The ensemble is the one of the best 2 to `num_members` candidates that has the best mean Dice. As it costs several
    networks, it must be better than every candidate by more than the standard error of the gain.
    """
    by_dice = sorted((one for one in candidates if math.isfinite(one.dice)), key=lambda one: -one.dice)
    best = max(candidates, key=lambda one: -math.inf if math.isnan(one.dice) else one.dice)
    for size in range(2, min(num_members, len(by_dice)) + 1):
        members = by_dice[:size]
        networks = tuple(network for one in members for network in one.networks)
        ensemble = Candidate(
            name="+".join(one.name for one in members),
            row=members[0].row,
            networks=networks,
            files=tuple(file for one in members for file in one.files),
            epoch=members[0].epoch,
            reported_dice=math.nan,
            scores=score(networks, patients, settings),
        )
        if ensemble.dice > best.dice:
            best = ensemble
    return [best, *candidates] if all(is_worse(one, best) for one in by_dice) else list(candidates)


def gain_over_default(candidates: Sequence[Candidate], default_trial: int | None) -> GainRecord | None:
    """Return the gain of the first candidate, the winner, over the default configuration; None without the latter."""
    default = best_of_trial(candidates, default_trial)
    if default is None:
        return None
    gain, runner_up = _compare(default, candidates[0]), None
    if candidates[0].row.number == default_trial:
        gain = replace(gain, gain=0.0, standard_error=0.0)
        runner_up = _runner_up(candidates, default)
    dice = mean_dice(_compared_scores(default, candidates[0])[0])
    return GainRecord(trial=default.row.id, default_dice=dice, runner_up=runner_up, **asdict(gain))


def _runner_up(candidates: Sequence[Candidate], default: Candidate) -> RunnerUp | None:
    """Return the candidate of another trial with the largest gain over the default; None if no gain is known."""
    others = (one for one in candidates if one.row.number != default.row.number)
    found = (RunnerUp(trial=one.row.id, **asdict(_compare(default, one))) for one in others)
    return max((one for one in found if math.isfinite(one.gain)), key=lambda one: one.gain, default=None)


def _compare(default: Candidate, other: Candidate) -> PairedGain:
    before, after = _compared_scores(default, other)
    gain, error = paired_gain([one.dice for one in before], [one.dice for one in after])
    num_fold_patients = len(before) if before is not default.scores else 0
    return PairedGain(gain=gain, standard_error=error, num_fold_patients=num_fold_patients)


def _compared_scores(one: Candidate, other: Candidate) -> tuple[Sequence[PatientScore], Sequence[PatientScore]]:
    """Return the scores of both on the same patients: those of the folds that both have, if both were in a race."""
    if not one.fold_scores or not other.fold_scores:
        return one.scores, other.scores
    num_patients = min(len(one.fold_scores), len(other.fold_scores))
    return one.fold_scores[:num_patients], other.fold_scores[:num_patients]


def best_of_trial(candidates: Iterable[Candidate], number: int | None) -> Candidate | None:
    """Return the candidate with the best mean Dice of those with a trial's configuration; None if there is none."""
    own = [one for one in candidates if one.row.number == number]
    return max(own, key=lambda one: -math.inf if math.isnan(one.dice) else one.dice, default=None)


def is_worse(one: Candidate, best: Candidate) -> bool:
    """Return whether a candidate's mean Dice is worse by at least the standard error of the paired difference."""
    gain, error = paired_gain(one.dices, best.dices)
    return one is not best and not (gain <= 0 or gain < (1 - ROUNDING) * error)  # nan counts as worse


def is_clear(before: Sequence[float], after: Sequence[float], *, num_compared: int) -> bool:
    """Return whether a gain in Dice is more than what the best of several equal configurations gains by luck.

    It is if the one-sided paired t-test over patients has p < P_CLEAR / `num_compared` (Bonferroni's correction; Dunn
    1961, doi:10.1080/01621459.1961.10482090). One patient is never enough.

    Args:
        before: Dice by patient.
        after: Dice of the same patients with another configuration.
        num_compared: Number of configurations of which this is the best.
    """
    from scipy.stats import t  # here, because the import takes most of a second

    gains = paired_gains(before, after)
    gain, error = _mean_and_error(gains)
    if len(gains) < 2 or not gain > 0:
        return False
    return error == 0 or bool(t.sf(gain / error, len(gains) - 1) < P_CLEAR / num_compared)


def paired_gains(before: Sequence[float], after: Sequence[float]) -> Float64[np.ndarray, " patients"]:
    """Return the gain of each patient.

    A patient whose Dice is undefined before and after is left out. If it is undefined in one of them only, the patient
    has no tumour, and one prediction is empty while the other is not. These count as 1 and 0, so that false positives
    in healthy patients are not overlooked.
    """
    dices = np.array([before, after], float)
    dices = dices[:, np.isfinite(dices).any(0)]
    return np.subtract(*np.where(np.isfinite(dices), dices, 1.0)[::-1])


def paired_gain(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Return the mean gain over patients and its standard error.

    With fewer than two patients the error is unknown and given as 0.
    """
    return _mean_and_error(paired_gains(before, after))


def _mean_and_error(gains: Float64[np.ndarray, " patients"]) -> tuple[float, float]:
    if len(gains) < 2:
        return float(gains[0]) if len(gains) else math.nan, 0.0
    return float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains)))
