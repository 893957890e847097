"""The gain of a search: how much better its winner is than the default configuration."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GainRecord:
    """How much better the winner is than the default configuration, on the validation patients."""

    trial: str
    """The trial with the default configuration."""

    default_dice: float
    """The mean Dice of its best candidate, when it was scored again."""

    gain: float
    """The mean gain in Dice over patients; 0 if the default configuration won."""

    standard_error: float
    """The standard error of the gain over patients."""

    @property
    def sentence(self) -> str:
        """The gain in words, for people."""
        if self.gain == 0 and self.standard_error == 0:
            return f"the default configuration ({self.trial}) won: no other was better by more than a standard error"
        return f"{self.gain:+.4f} ± {self.standard_error:.4f} over the default configuration ({self.trial})"
