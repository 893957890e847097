"""How far an exported model is from its network. It imports no torch, so that reading a record of it is quick."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How much an exported model differs from its network on the same slices."""

    max_probability_difference: float
    """Largest absolute difference in any pixel."""

    dice_difference: float
    """1 - Dice between the two predictions, over all slices together, without the pixels within the tolerance of the
    threshold; 0 if both predictions are empty."""

    num_slices: int
    """Number of slices compared."""
