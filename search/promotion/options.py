"""The options of promotion: how the winner of a search is chosen and becomes a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from data.errors import UserError
from search.record.objectives import NUM_KEPT

MAX_MEMBERS = 10
"""The most networks in an ensemble. Each adds its full latency to every prediction."""


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """How the winner is chosen after the search: by the validation patients, never by the test patients."""

    candidates: int = 3
    """Number of trials whose best checkpoints are scored again on the validation patients, at the masks' own size."""

    ties: Literal["smaller", "best"] = "smaller"
    """Which candidate wins a tie. `smaller`: the one with the fewest parameters among those whose mean Dice is within
    one standard error of the best (of the difference, over patients). `best`: the one with the best mean Dice."""

    choose: bool = True
    """Whether threshold, flips, temperature and the removal of small components are chosen on the validation patients.
    The first three are used only if they help, and not with final seeds, whose networks have seen these patients; the
    last one is used unless it harms. Otherwise the threshold is 0.5, and none of the others is used."""

    final_seeds: int = 0
    """Number of seeds with which the winning configuration is trained again on the training and validation patients
    together. The model is then the average of these networks. Each adds its full latency to every prediction. 0: the
    winner's own network is the model."""

    final_epochs: int | None = None
    """Epochs of each training with a final seed. None: as many as `max_epochs`; a budget also chooses fewer or more,
    so that they fill the time that is left."""

    ensemble: int = 1
    """The most candidates whose probabilities are averaged. An ensemble is used only if it is better than one
    candidate on the validation patients. Final seeds replace it."""

    folds: int = 0
    """Folds, by person, of the training and validation patients. The configurations of all candidates are trained
    again on each fold, and the one that is best over all these patients wins. One that is clearly worse (p < 0.1 by
    Wilcoxon's test) is trained on no further folds. 0: the validation patients decide."""

    @property
    def trains(self) -> bool:
        """Whether the promotion trains networks, which can take hours."""
        return self.final_seeds > 0 or self.folds > 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("candidates", 1, NUM_KEPT),
            ("final_seeds", 0, MAX_MEMBERS),
            ("ensemble", 1, MAX_MEMBERS),
            ("folds", 0, 100),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name} is {getattr(self, name)}, but must be from {low} to {high}")
        if self.final_epochs is not None and self.final_epochs < 1:
            raise UserError(f"final_epochs is {self.final_epochs}, but must be at least 1")
        if self.folds == 1:
            raise UserError("folds is 1, but must be at least 2; give 0 for none")

    def check_objectives(self, objectives: Sequence[str]) -> None:
        """Raise UserError if several networks are to be promoted, but there are several objectives."""
        if len(objectives) == 1:
            return
        names = ", ".join(objectives)
        for name, remedy in (("ensemble", "leave it out"), ("final_seeds", "give at most 1")):
            if getattr(self, name) > 1:
                raise UserError(
                    f"{name} is {getattr(self, name)}, but with several objectives ({names}) one network is promoted: "
                    f"{remedy}"
                )
