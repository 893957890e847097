"""How a model is made of a search's trials: the options of promotion."""

from dataclasses import dataclass
from typing import Literal

from data.errors import UserError
from search.record.objectives import NUM_KEPT

MAX_MEMBERS = 10
"""Networks in an ensemble; every one costs its whole latency."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """How the winner is chosen once the search is over; validation patients decide, test patients never do."""

    candidates: int = 3
    """Trials whose best checkpoints are scored again on the validation patients, at the masks' own size."""

    ties: Literal["smaller", "best"] = "smaller"
    """Of candidates whose mean Dice is within one standard error of the best one's (of the difference, over patients),
    the one with the fewest parameters wins; `best`: the best mean wins, whatever its size."""

    choose: bool = True
    """Whether threshold, largest component, flips and temperature are chosen on the validation patients, each kept only
    if it helps; otherwise the threshold is 0.5, and the rest is left out."""

    final_seeds: int = 0
    """Seeds with which the winning configuration is trained again for all its epochs. These are candidates too, each
    after its best epoch, and with the weights of its last quarter of epochs averaged."""

    ensemble: int = 1
    """Most candidates whose probabilities are averaged, where that is better on the validation patients than one."""

    folds: int = 0
    """Folds of a cross-validation, by patient, of the winning configuration on the training and validation patients;
    0: none."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("candidates", 1, NUM_KEPT),
            ("final_seeds", 0, 100),
            ("ensemble", 1, MAX_MEMBERS),
            ("folds", 0, 100),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name} is {getattr(self, name)}, but must be from {low} to {high}")
        if self.folds == 1:
            raise UserError("folds is 1, but a cross-validation needs at least 2; 0 is none")
