"""The candidates for promotion: the best checkpoints, scored again, and the rule that ranks them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.patient import Patient
from model.device import find_device
from model.export.predictor import Predictor, torch_network
from model.scoring.evaluate import evaluate
from model.scoring.scores import PatientScore
from model.segmentation_network import SegmentationNetwork
from model.settings import Settings
from model.training import checkpoint
from search.record.epochs import METRIC
from search.record.model_metrics import CandidateRecord
from search.record.objectives import best_merits, costs, in_order_of_promotion, worth_keeping
from search.record.trials import TrialRow
from search.storage.download import ensure_local

ROUNDING = 1e-9
"""Relative tolerance. If a single patient differs, gain and standard error are equal except for rounding, and one
patient must not decide."""


class NothingToPromote(Exception):
    """No trial left a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A checkpoint, or an ensemble of several, that was scored again on the validation patients."""

    name: str
    """The id of the trial, with the seed if it was trained again; an ensemble joins the names of its members by `+`."""

    row: TrialRow
    """The trial whose configuration this is; for an ensemble, that of its best member."""

    networks: tuple[SegmentationNetwork, ...]
    files: tuple[Path, ...]
    """The checkpoints of the networks."""

    epoch: int
    """The epoch after which the network was saved; for an ensemble, that of its best member."""

    reported_dice: float
    """The Dice that its training reported; nan for an ensemble."""

    scores: list[PatientScore]
    """The scores of the validation patients, predicted in float32 and in the masks' own size."""

    @property
    def dice(self) -> float:
        """The mean Dice over patients; nan if no patient has a tumour or a prediction."""
        dices = [score.dice for score in self.scores if np.isfinite(score.dice)]
        return float(np.mean(dices)) if dices else float("nan")

    @property
    def num_parameters(self) -> int:
        """The number of weights of all networks together."""
        return Predictor(self.networks).num_parameters

    def record(self) -> CandidateRecord:
        """Return what metrics.json says of this candidate."""
        return CandidateRecord(
            name=self.name,
            trial=self.row.id,
            reported_dice=self.reported_dice,
            rescored_dice=self.dice,
            num_parameters=self.num_parameters,
        )


def rescore(
    rows: Sequence[TrialRow],
    folder: Path,
    patients: Sequence[Patient],
    *,
    settings: Settings,
    num_candidates: int,
    objectives: Sequence[str] = (METRIC,),
    dice_tolerance: float = 0.0,
) -> tuple[list[Candidate], list[str]]:
    """Return the best trials as candidates, scored again, and a message for each checkpoint that cannot be read.

    Training validates on resized masks, in bf16 where it can, so the ranks can change.

    Raises:
        NothingToPromote: No trial has a checkpoint that can be read.
    """
    if costs(objectives):  # the winner is compared with the best Dice, so that is scored too
        num_candidates = max(2, num_candidates)
    ranked = _worth_scoring(rows, objectives, dice_tolerance, num_candidates)
    if not ranked:
        reasons = "; ".join(sorted({(row.error or "no epoch ended").strip().split("\n")[0] for row in rows}))
        raise NothingToPromote(f"none of {len(rows)} trials left a checkpoint: {reasons or 'none was started'}")
    candidates: list[Candidate] = []
    skipped: list[str] = []
    for row in ranked:
        if len(candidates) == num_candidates:
            break
        assert row.checkpoint is not None, "others are not ranked"
        assert row.checkpoint, "only trials with one are ranked"
        try:
            candidates.append(score_checkpoint(row.id, row, folder / row.checkpoint, patients, settings))
        except (checkpoint.CheckpointError, OSError) as error:  # such as one that a crash cut off
            skipped.append(f"{row.id} is skipped: {error}")
    if not candidates:
        raise NothingToPromote(f"none of {len(ranked)} checkpoints can be read: {skipped[0]}")
    return candidates, skipped


def score_checkpoint(
    name: str, row: TrialRow, file: Path, patients: Sequence[Patient], settings: Settings
) -> Candidate:
    """Return a checkpoint as a candidate, scored on the patients.

    Raises:
        CheckpointError: It is damaged, or not of this program.
        OSError: It cannot be read.
    """
    network, history = checkpoint.load_checkpoint(ensure_local(file))
    return Candidate(
        name=name,
        row=row,
        networks=(network,),
        files=(file,),
        epoch=len(history),
        reported_dice=history[-1][METRIC] if history else math.nan,
        scores=score([network], patients, settings),
    )


def score(
    networks: Sequence[SegmentationNetwork], patients: Sequence[Patient], settings: Settings
) -> list[PatientScore]:
    """Return the scores of the patients by the average of the networks, computed on the fastest device here."""
    return evaluate(torch_network(Predictor(networks), find_device().device), patients, settings=settings)


def rank_candidates(
    candidates: Sequence[Candidate], *, objectives: Sequence[str], dice_tolerance: float, ties: str
) -> list[Candidate]:
    """Return the candidates, the winner first.

    With several objectives, the rule is that of search/record/objectives.py. With Dice alone, the best mean wins; but
    if `ties` is "smaller", the smallest network wins of those that are not worse by a standard error (`is_worse`). Of
    equal candidates, the one that was better during the search comes first, and then the earlier one.
    """
    names = costs(objectives)
    ranked = in_order_of_promotion(
        candidates,
        lambda one: (-math.inf if math.isnan(one.dice) else one.dice, *best_merits(one.row, names)),
        dice_tolerance=dice_tolerance,
    )
    if names or ties == "best":
        return ranked
    tied = [one for one in ranked if not is_worse(one, ranked[0])]
    return sorted(tied, key=lambda one: one.num_parameters) + [one for one in ranked if one not in tied]


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


def is_worse(one: Candidate, best: Candidate) -> bool:
    """Return whether a candidate's mean Dice is worse by at least the standard error of the paired difference."""
    gain, error = paired_gain([score.dice for score in one.scores], [score.dice for score in best.scores])
    return one is not best and not (gain <= 0 or gain < (1 - ROUNDING) * error)  # nan counts as worse


def paired_gain(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Return the mean gain over patients and its standard error.

    A patient whose Dice is undefined before and after is left out. If it is undefined in one of them only, the patient
    has no tumour, and one prediction is empty while the other is not. These count as 1 and 0, so that false positives
    in healthy patients are not overlooked. With fewer than two patients the error is unknown and given as 0.
    """
    dices = np.array([before, after], float)
    dices = dices[:, np.isfinite(dices).any(0)]
    gains = np.subtract(*np.where(np.isfinite(dices), dices, 1.0)[::-1])
    if len(gains) < 2:
        return float(gains[0]) if len(gains) else math.nan, 0.0
    return float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains)))


def _worth_scoring(
    rows: Sequence[TrialRow], objectives: Sequence[str], dice_tolerance: float, num_candidates: int
) -> list[TrialRow]:
    """Return the trials whose checkpoint is on disk, the best first.

    The one with the best Dice is among the first `num_candidates`, because the others are compared with it.
    """
    kept = worth_keeping([row for row in rows if row.checkpoint], objectives)
    ranked = in_order_of_promotion(kept, lambda row: best_merits(row, objectives), dice_tolerance=dice_tolerance)
    if kept and kept[0] not in ranked[:num_candidates]:
        ranked.remove(kept[0])
        ranked.insert(num_candidates - 1, kept[0])
    return ranked
