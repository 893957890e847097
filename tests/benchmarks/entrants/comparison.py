"""What a contest shows: each entrant's Dice over patients, and the paired difference of ours from the best other."""

from collections.abc import Sequence

import numpy as np

from model.scoring.summary import bootstrap_interval
from search.promotion.ranking import paired_gain, paired_gains
from search.record.codec import JsonObject
from tests.benchmarks.entrants.contest import ENTRANTS, Score

OURS = "ours"


def compare(scores: Sequence[Score]) -> JsonObject:
    """Return the means and medians of all entrants, None for those left out, and the gain of ours over the best other.

    The interval is the bootstrap's, over patients, and covers 95 %. A patient without tumour counts as 1 for an entrant
    that predicts none, if the other predicts some; if neither does, the patient is left out of the difference.
    """
    by_name = {score.entrant: list(_sorted(score).values()) for score in scores}
    means = {name: _rounded(float(np.nanmean(dice))) for name, dice in by_name.items()}
    medians = {name: _rounded(float(np.nanmedian(dice))) for name, dice in by_name.items()}
    return {
        **{f"dice_{name}": means.get(name) for name in ENTRANTS},
        **{f"median_{name}": medians.get(name) for name in ENTRANTS},
        **_gain(by_name),
        "num_patients": max((len(dice) for dice in by_name.values()), default=0),
        "seconds": {score.entrant: score.seconds for score in scores},
        "trained": {score.entrant: dict(score.facts) for score in scores},
    }


def _gain(by_name: dict[str, list[float]]) -> JsonObject:
    """Return the paired difference of ours from the best other; None if one of the two is left out."""
    others = [name for name in by_name if name != OURS]
    names = ("best_other", "gain_over_best", "standard_error", "gain_low", "gain_high")
    if OURS not in by_name or not others:
        return dict.fromkeys(names)
    best = max(others, key=lambda name: float(np.nanmean(by_name[name])))
    gain, error = paired_gain(by_name[best], by_name[OURS])
    interval = bootstrap_interval(paired_gains(by_name[best], by_name[OURS]).tolist())
    found = (best, _rounded(gain), _rounded(error), _rounded(interval.low), _rounded(interval.high))
    return dict(zip(names, found, strict=True))


def _sorted(score: Score) -> dict[str, float]:
    return dict(sorted(score.dice.items()))


def _rounded(value: float) -> float:
    return round(value, 4)
