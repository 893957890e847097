"""The candidates for promotion: the best checkpoints, scored again on the validation patients."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import first_line
from data.patient import Patient
from model.device import find_device
from model.export.predictor import Predictor, torch_network
from model.scoring.evaluate import evaluate
from model.scoring.scores import PatientScore
from model.scoring.summary import finite_mean
from model.segmentation_network import SegmentationNetwork
from model.settings import Settings
from model.training import checkpoint
from search.record.epochs import METRIC
from search.record.model_metrics import CandidateRecord, FoldPatientScore
from search.record.objectives import best_merits, costs, in_order_of_promotion, worth_keeping
from search.record.trials import TrialRow
from search.storage.download import ensure_local


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
    """The Dice that its training reported; nan for an ensemble, or if its training did not validate."""

    scores: list[PatientScore]
    """The scores of the validation patients, predicted in float32 and in the masks' own size."""

    fold_scores: tuple[FoldPatientScore, ...] = ()
    """The scores of the patients of the folds in which its configuration was trained again."""

    @property
    def dice(self) -> float:
        """The mean Dice over patients; nan if no patient has a tumour or a prediction."""
        return mean_dice(self.scores)

    @property
    def dices(self) -> list[float]:
        """The Dice of each patient."""
        return [score.dice for score in self.scores]

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


def mean_dice(scores: Sequence[PatientScore]) -> float:
    """Return the mean Dice over patients; nan if no patient has a tumour or a prediction."""
    return finite_mean(score.dice for score in scores)


def rescore(
    rows: Sequence[TrialRow],
    folder: Path,
    patients: Sequence[Patient],
    *,
    settings: Settings,
    num_candidates: int,
    objectives: Sequence[str] = (METRIC,),
    dice_tolerance: float = 0.0,
    default_trial: int | None = None,
    own: Collection[str] = (),
) -> tuple[list[Candidate], list[str]]:
    """Return the best trials as candidates, scored again, and a message for each checkpoint that cannot be read.

    The trial with the default configuration is a candidate even if it is not among the `num_candidates` best. Training
    validates on resized masks, in bf16 where it can, so the ranks can change.

    Raises:
        NothingToPromote: No trial has a checkpoint that can be read.
    """
    if costs(objectives):  # the winner is compared with the best Dice, so that is scored too
        num_candidates = max(2, num_candidates)
    ranked = _worth_scoring(rows, objectives, dice_tolerance, num_candidates, default_trial)
    if not ranked:
        reasons = "; ".join(sorted({first_line(row.error or "no epoch ended") for row in rows}))
        raise NothingToPromote(f"none of {len(rows)} trials left a checkpoint: {reasons or 'none was started'}")
    candidates: list[Candidate] = []
    skipped: list[str] = []
    for row in ranked:
        if len(candidates) >= num_candidates and row.number != default_trial:
            continue
        assert row.checkpoint, "only trials with one are ranked"
        try:
            candidates.append(score_checkpoint(row.id, row, folder / row.checkpoint, patients, settings, own=own))
        except (checkpoint.CheckpointError, OSError) as error:  # such as one that a crash cut off
            skipped.append(f"{row.id} is skipped: {error}")
    if not candidates:
        raise NothingToPromote(f"none of {len(ranked)} checkpoints can be read: {skipped[0]}")
    return candidates, skipped


def score_checkpoint(
    name: str,
    row: TrialRow,
    file: Path,
    patients: Sequence[Patient],
    settings: Settings,
    *,
    own: Collection[str] = (),
) -> Candidate:
    """Return a checkpoint as a candidate, scored on the patients.

    Args:
        own: The functions `package.module:function` that may build its network.

    Raises:
        CheckpointError: It is damaged, or not of this program.
        OSError: It cannot be read.
    """
    network, history = checkpoint.load_checkpoint(ensure_local(file), own=own)
    return Candidate(
        name=name,
        row=row,
        networks=(network,),
        files=(file,),
        epoch=len(history),
        reported_dice=history[-1].get(METRIC, math.nan) if history else math.nan,
        scores=score([network], patients, settings),
    )


def score(
    networks: Sequence[SegmentationNetwork], patients: Sequence[Patient], settings: Settings
) -> list[PatientScore]:
    """Return the scores of the patients by the average of the networks, computed on the fastest device here."""
    return evaluate(torch_network(Predictor(networks), find_device().device), patients, settings=settings)


def _worth_scoring(
    rows: Sequence[TrialRow],
    objectives: Sequence[str],
    dice_tolerance: float,
    num_candidates: int,
    default_trial: int | None,
) -> list[TrialRow]:
    """Return the trials whose checkpoint is on disk, the best first.

    The one with the best Dice is among the first `num_candidates`, because the others are compared with it.
    """
    kept = worth_keeping([row for row in rows if row.checkpoint], objectives, default_trial)
    ranked = in_order_of_promotion(kept, lambda row: best_merits(row, objectives), dice_tolerance=dice_tolerance)
    if kept and kept[0] not in ranked[:num_candidates]:
        ranked.remove(kept[0])
        ranked.insert(num_candidates - 1, kept[0])
    return ranked
