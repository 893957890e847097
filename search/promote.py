"""Which trial wins: the best checkpoints, scored again on the validation patients."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.patient import Patient
from model import checkpoint
from model.device import find_device
from model.evaluate import PatientScore, evaluate
from model.predictor import Predictor, torch_network
from model.settings import Settings
from model.unet import UNet
from search.objectives import costs, in_order_of_promotion, merits, worth_keeping
from search.trials import METRIC, TrialRow

logger = logging.getLogger(__name__)

NUM_CANDIDATES = 3
"""Trials that are scored again. Training validates resized masks in bf16; the few best may change places."""


class NothingToPromote(Exception):
    """No trial left a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trial whose best checkpoint was scored again."""

    row: TrialRow
    network: UNet
    scores: list[PatientScore]
    """Of the validation patients, in float32 and in the masks' own size."""

    @property
    def dice(self) -> float:
        """The mean over patients; nan where no patient has a tumour or a prediction."""
        dices = [score.dice for score in self.scores if np.isfinite(score.dice)]
        return float(np.mean(dices)) if dices else float("nan")


def promote(
    rows: list[TrialRow],
    folder: Path,
    val_patients: Sequence[Patient],
    *,
    settings: Settings,
    objectives: Sequence[str] = (METRIC,),
    dice_tolerance: float = 0.0,
) -> list[Candidate]:
    """Return the candidates, the winner first, by the mean Dice now, not the last number that was reported.

    The rule is that of search.objectives; with Dice alone, the best wins. Among equals the one that was better during
    the search wins, and among those the earlier.

    Raises:
        NothingToPromote: No trial has a checkpoint that can be read.
    """
    ranked = _candidates(rows, objectives, dice_tolerance)
    if not ranked:
        reasons = "; ".join(sorted({(row.error or "no epoch ended").strip().split("\n")[0] for row in rows}))
        raise NothingToPromote(f"none of {len(rows)} trials left a checkpoint: {reasons or 'none began'}")
    device = find_device().device
    candidates = []
    for row in ranked:
        if len(candidates) == NUM_CANDIDATES:
            break
        try:
            network = checkpoint.load_network(folder / row.checkpoint)
        except (checkpoint.CheckpointError, OSError) as error:  # one that a crash cut off, say
            logger.warning("%s is passed over: %s", row.id, error)
            continue
        scores = evaluate(torch_network(Predictor([network]), device), val_patients, settings=settings)
        candidates.append(Candidate(row=row, network=network, scores=scores))
    if not candidates:
        raise NothingToPromote(f"none of {len(ranked)} checkpoints can be read")
    return in_order_of_promotion(
        candidates,
        lambda one: (-math.inf if math.isnan(one.dice) else one.dice, *merits(one.row.best_epoch, costs(objectives))),
        dice_tolerance=dice_tolerance,
    )


def _candidates(rows: list[TrialRow], objectives: Sequence[str], dice_tolerance: float) -> list[TrialRow]:
    """Return the trials whose checkpoint is on disk, those first that may win; the best Dice is the others' measure."""
    kept = worth_keeping([row for row in rows if row.checkpoint], objectives)
    ranked = in_order_of_promotion(kept, lambda row: merits(row.best_epoch, objectives), dice_tolerance=dice_tolerance)
    if kept and kept[0] not in ranked[:NUM_CANDIDATES]:
        ranked.remove(kept[0])
        ranked.insert(NUM_CANDIDATES - 1, kept[0])
    return ranked
