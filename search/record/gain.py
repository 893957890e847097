"""The gain of a search: how much better its winner is than the default configuration."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PairedGain:
    """Says how much better one configuration is than another, on patients that neither was trained on."""

    gain: float
    """The mean gain in Dice over patients."""

    standard_error: float
    """The standard error of the gain over patients."""

    num_fold_patients: int = 0
    """Number of patients in the folds on which both were compared; 0: they were compared on the validation patients."""

    @property
    def patients(self) -> str:
        """On which patients the two were compared."""
        return f"{self.num_fold_patients} patients in folds" if self.num_fold_patients else "the validation patients"

    @property
    def text(self) -> str:
        """The gain with its standard error."""
        return f"{self.gain:+.4f} ± {self.standard_error:.4f}"


@dataclass(frozen=True, kw_only=True)
class RunnerUp(PairedGain):
    """The best of the other configurations, and its gain over the default, where the default won."""

    trial: str


@dataclass(frozen=True, kw_only=True)
class GainRecord(PairedGain):
    """Says how much better the winner is than the default configuration; the gain is 0 if the default won."""

    trial: str
    """The trial with the default configuration."""

    default_dice: float
    """The mean Dice of its best candidate, when it was scored again."""

    runner_up: RunnerUp | None = None
    """None if another configuration won, or if there is no other."""

    def sentence(self, winner: str, *, by_dice_alone: bool) -> str:
        """Return the gain in words, for people.

        Args:
            winner: The trial that won.
            by_dice_alone: Whether Dice was the only objective.
        """
        if winner != self.trial:
            return f"{self.text} over the default configuration ({self.trial}), on {self.patients}"
        won = f"the default configuration ({self.trial}) won"
        if not by_dice_alone or not self.runner_up:
            return won
        other = self.runner_up
        reason = "which may be luck" if other.gain > 0 else "which is none"
        return f"{won}: the best other, {other.trial}, gains {other.text} over it on {other.patients}, {reason}"
