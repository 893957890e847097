"""A race of the candidates over folds by person, in which every patient but the test patients counts.

The validation patients are few, and the search has looked at them many times. So the configurations of the candidates
are trained again on each fold, until it is clear that one is worse than the leader.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from data.errors import UserError
from data.splitting.split import in_hash_order
from model.scoring.summary import summarise
from search.cohort import Cohort
from search.config import SearchConfig
from search.promotion.candidates import Candidate, mean_dice
from search.promotion.ranking import paired_gains, rank_by
from search.promotion.retraining import Retrainer, Retraining
from search.record.model_metrics import CrossValidationRecord, FoldPatientScore, RacedRecord

P_VALUE = 0.1
"""A candidate leaves the race when the Wilcoxon test says with this p-value that the leader is better; as Optuna's
WilcoxonPruner does. With fewer than four patients, no difference is as clear."""


def check_folds(config: SearchConfig, cohort: Cohort) -> None:
    """Check, before anything is trained, that every fold has a person.

    Raises:
        UserError: There are more folds than persons.
    """
    num_persons = len({patient.person for patient in (*cohort.train_patients, *cohort.val_patients)})
    if config.promotion.folds > num_persons:
        raise UserError(
            f"folds is {config.promotion.folds}, but there are {num_persons} persons to train and validate on: give at "
            "most as many"
        )


def race(candidates: Sequence[Candidate], retrainer: Retrainer) -> tuple[list[Candidate], CrossValidationRecord]:
    """Return the candidates, the winner first, with the scores of the patients in their folds; and the winner's folds.

    A network is scored after its last epoch, so that no epoch is chosen on the patients that are scored. With several
    objectives a candidate with a worse Dice can still win, so only the winner is trained, and it stays the winner.
    """
    config = retrainer.config
    racing = list(candidates) if len(config.objective) == 1 else list(candidates[:1])
    failures: list[str] = []
    out: list[Candidate] = []
    p_values: dict[str, float] = {}
    for number in range(1, config.promotion.folds + 1):
        results = _train_fold(racing, number, retrainer, failures)
        racing = [replace(one, fold_scores=one.fold_scores + results[one.name]) for one in racing]
        failed = [one for one in racing if not results[one.name]]
        racing = [one for one in racing if one not in failed]
        p_values |= {one.name: p_worse(one, _leader(racing)) for one in racing}
        worse = [one for one in racing if p_values[one.name] < P_VALUE]
        racing = [one for one in racing if one not in worse]
        out = [*worse, *failed, *out]
    ranked = [*_rank(racing, config), *out]
    raced = {one.name for one in ranked}
    others = [one for one in candidates if one.name not in raced]
    return ranked + others, _record(ranked, p_values, failures, config)


def p_worse(one: Candidate, leader: Candidate) -> float:
    """Return the p-value with which the leader's Dice is better, by Wilcoxon's signed-rank test over patients."""
    from scipy.stats import wilcoxon  # here, because the import takes most of a second

    gains = paired_gains([score.dice for score in one.fold_scores], [score.dice for score in leader.fold_scores])
    if not np.any(gains):
        return 1.0
    result = wilcoxon(gains, alternative="greater", zero_method="zsplit")
    return float(result.pvalue)  # pyright: ignore[reportAttributeAccessIssue]  # SciPy does not annotate its result


def _train_fold(
    racing: Sequence[Candidate], number: int, retrainer: Retrainer, failures: list[str]
) -> dict[str, tuple[FoldPatientScore, ...]]:
    """Return the scores of the patients of a fold by the name of the candidate; none where its training failed.

    Args:
        failures: Gets the reason of each training that failed.
    """
    config, count = retrainer.config, retrainer.config.promotion.folds
    persons = in_hash_order({one.person for one in retrainer.patients.values()}, seed=config.seed)
    out = set(persons[number - 1 :: count])
    held_out = tuple(name for name, one in retrainer.patients.items() if one.person in out)
    names = hashlib.sha256("/".join(sorted(held_out)).encode(errors="surrogateescape")).hexdigest()[:8]
    wanted = {
        one.name: Retraining(
            name=f"{one.row.id}-fold{number}of{count}-{names}",
            row=one.row,
            seed=config.seed,
            epochs=config.max_epochs,
            held_out=held_out,
        )
        for one in racing
    }
    patients = [retrainer.patients[name] for name in held_out]
    scored, failed = retrainer.train_and_score(list(wanted.values()), patients)
    failures += [f"the training of {name} failed: {failure.reason}" for name, failure in failed.items()]
    scores = {one.name: one.scores for one in scored}
    return {
        name: tuple(FoldPatientScore(**vars(score), fold=number) for score in scores.get(training.name, ()))
        for name, training in wanted.items()
    }


def _leader(racing: Sequence[Candidate]) -> Candidate:
    return max(racing, key=lambda one: -math.inf if math.isnan(dice := mean_dice(one.fold_scores)) else dice)


def _rank(racing: Sequence[Candidate], config: SearchConfig) -> list[Candidate]:
    """Return the candidates that ran to the end, ranked by the rule of promotion on the patients of all folds."""
    ranked = rank_by(config, [replace(one, scores=list(one.fold_scores)) for one in racing])
    by_name = {one.name: one for one in racing}
    return [by_name[one.name] for one in ranked]


def _record(
    ranked: Sequence[Candidate], p_values: Mapping[str, float], failures: Sequence[str], config: SearchConfig
) -> CrossValidationRecord:
    winner = ranked[0]
    return CrossValidationRecord(
        num_folds=config.promotion.folds,
        failures=tuple(failures),
        summary=summarise(winner.fold_scores),
        folds=tuple(summarise(scores) for scores in _by_fold(winner.fold_scores)),
        patients=winner.fold_scores,
        raced=tuple(
            RacedRecord(
                name=one.name,
                num_patients=len(one.fold_scores),
                dice=mean_dice(one.fold_scores),
                p_value=p_values.get(one.name, math.nan),
            )
            for one in ranked
        ),
    )


def _by_fold(scores: Sequence[FoldPatientScore]) -> list[list[FoldPatientScore]]:
    numbers = sorted({score.fold for score in scores})
    return [[score for score in scores if score.fold == number] for number in numbers]
