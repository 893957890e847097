"""Which trial wins: the best checkpoints, scored again on the validation patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.lgg import read_slice
from data.patient import Patient
from model import checkpoint
from model.device import find_device
from model.evaluate import PatientScore, evaluate, torch_network
from model.unet import UNet
from search.trials import TrialRow, best_first

NUM_CANDIDATES = 3
"""Trials that are scored again. Training validates resized masks in bf16; the few best may change places."""

THRESHOLD = 0.5
"""Probability from which on a pixel is tumour."""


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
        return float(np.nanmean([score.dice for score in self.scores]))


def promote(rows: list[TrialRow], folder: Path, val_patients: Sequence[Patient], *, size: int) -> list[Candidate]:
    """Return the candidates, the winner first: the best mean Dice now, not the last number that was reported.

    Among equals the one that was better during the search wins, and among those the earlier.

    Raises:
        NothingToPromote: No trial has a checkpoint.
    """
    ranked = [row for row in best_first(rows) if row.checkpoint]
    if not ranked:
        reasons = "; ".join(sorted({(row.error or "no epoch ended").strip().split("\n")[0] for row in rows}))
        raise NothingToPromote(f"none of {len(rows)} trials left a checkpoint: {reasons or 'none began'}")
    device = find_device().device
    candidates = []
    for row in ranked[:NUM_CANDIDATES]:
        network = checkpoint.load_network(folder / row.checkpoint)
        scores = evaluate(
            torch_network(network, device), val_patients, read_slice=read_slice, size=size, threshold=THRESHOLD
        )
        candidates.append(Candidate(row=row, network=network, scores=scores))
    return sorted(candidates, key=lambda candidate: -candidate.dice)  # stable: equals keep the search's order
