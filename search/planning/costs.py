"""Estimate how long trainings and the promotion take on the machines of a search."""

import math
from dataclasses import dataclass

MARGIN = 1.1
"""An epoch is expected to take this many times what was measured, because every epoch of a search also writes a
checkpoint, and lanes on one machine slow each other down a little."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The times that things take on these machines are given in seconds. A *length* is a time in epochs of one lane."""

    epoch_seconds: float
    """An epoch of the default configuration with validation, in one lane."""

    num_lanes: int = 1
    num_workers: int = 1
    """Workers of a lane, which share its epochs. A training after the search has one worker."""

    start_seconds: float = 0.0
    """From the start of the command to the first trial."""

    promotion_seconds: float = 0.0
    """All that follows the trials, without further trainings."""

    seed_seconds: float = 0.0
    """Scoring the network of one final seed, and what it adds to the scoring of the test patients."""

    final_epoch_ratio: float = 1.0
    """An epoch of a final training takes this many times one of a trial, as it has more slices and no validation."""

    def length(self, amount: float) -> float:
        """Return the length of what is left for trainings of a time from the start of the command."""
        return (amount - self.start_seconds - self.promotion_seconds) / self.planned_epoch_seconds

    @property
    def planned_epoch_seconds(self) -> float:
        """Seconds of an epoch, with a margin."""
        return MARGIN * self.epoch_seconds

    def rounds(self, num_trainings: int) -> int:
        """Return how long trainings after the search take, relative to one training in a lane."""
        return self.num_workers * math.ceil(num_trainings / (self.num_lanes * self.num_workers))

    def seeds_length(self, num_seeds: int, max_epochs: float) -> float:
        """Return the length of training with final seeds, and of scoring the networks."""
        training = self.final_epoch_ratio * self.rounds(num_seeds) * max_epochs
        return training + num_seeds * self.seed_seconds / self.planned_epoch_seconds

    def seeds_in(self, length: float, max_epochs: float, most: int) -> int:
        """Return how many final seeds fit into a length."""
        return max(
            number for number in range(most + 1) if not number or self.seeds_length(number, max_epochs) <= length
        )

    def seconds_from_last_start(self, num_seeds: int, max_epochs: int) -> float:
        """Return the seconds from the start of the last final training to the end of the promotion, with no margin."""
        training = self.final_epoch_ratio * self.num_workers * max_epochs * self.epoch_seconds
        return training + num_seeds * self.seed_seconds + self.promotion_seconds

    def epochs_of_seeds(self, num_seeds: int, length: float) -> int:
        """Return the epochs of each of some final seeds, which fill a length together."""
        room = length - self.seeds_length(num_seeds, 0)
        return int(room / (self.final_epoch_ratio * self.rounds(num_seeds)) + 1e-9)


IN_EPOCHS = Costs(epoch_seconds=1 / MARGIN)
"""The costs of a budget of epochs, in epochs: they are counted, whichever lane trains them, and all else is free."""
