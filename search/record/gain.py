"""The gain of a search: how much better its winner is than the default configuration."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GainRecord:
    """How much better the winner is than the default configuration, on patients that neither was trained on."""

    trial: str
    """The trial with the default configuration."""

    default_dice: float
    """The mean Dice of its best candidate, when it was scored again."""

    gain: float
    """The mean gain in Dice over patients; 0 if the default configuration won."""

    standard_error: float
    """The standard error of the gain over patients."""

    num_fold_patients: int = 0
    """Number of patients in the folds on which both were compared; 0: they were compared on the validation patients."""

    @property
    def patients(self) -> str:
        """On which patients the two were compared."""
        return f"{self.num_fold_patients} patients in folds" if self.num_fold_patients else "the validation patients"

    def sentence(self, winner: str, *, by_dice_alone: bool) -> str:
        """Return the gain in words, for people.

        Args:
            winner: The trial that won.
            by_dice_alone: Whether Dice was the only objective.
        """
        if winner == self.trial:
            reason = f": no other was clearly better, on {self.patients}" if by_dice_alone else ""
            return f"the default configuration ({self.trial}) won{reason}"
        return (
            f"{self.gain:+.4f} ± {self.standard_error:.4f} over the default configuration ({self.trial}), on "
            f"{self.patients}"
        )
