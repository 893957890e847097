"""Divide a budget among the default configuration, other trials, and the winner's trainings with other seeds.

Everything is counted in epochs of the default configuration, so that one arithmetic serves budgets of time and of
epochs. A budget's *capacity* is the number of epochs that all lanes together can train in it.
"""

import math
from dataclasses import dataclass

from data.errors import UserError
from search.planning.budget import Budget
from search.promotion_options import MAX_MEMBERS

MIN_EPOCHS, MAX_EPOCHS = 9, 81
"""The shortest and the longest schedule that a plan chooses. In fewer epochs than 9 the default is not yet good, and
rungs at 3 and 6 would compare noise; more than 81 have not been seen to help."""

WHOLE_TRAININGS = 12
"""How many trainings of the default a budget holds, if its schedule is neither the shortest nor the longest. Between 8
and 16, half of the budget is enough for a sampler to learn something, and a training is still long enough to end
well."""

FEWEST_TRAININGS = 3
"""With fewer trainings of the default than this, there is no search: one training, and none that is shorter for the
sake of others, was better than any search of so few (tests/benchmarks/LOG.md)."""

SEARCH_SHARE = 0.5
"""The most of a budget that is planned for trials other than the default. The best of many short trials is chosen
partly by luck, while the winner's further trainings and the default gain for certain."""

FIRST_RUNG = 1 / 3
"""The share of the schedule before the first rung; earlier, the rank of a trial says little about its final rank."""

REDUCTION_FACTOR = 2
"""With a first rung at a third, there are two rungs; a larger factor would leave one, and stop trials on one look."""

MARGIN = 1.1
"""What an epoch is expected to take, relative to the one measured: every epoch of a search also writes a checkpoint,
and lanes on one machine slow each other down a little."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What things take on these machines, in seconds."""

    epoch_seconds: float
    """An epoch of the default configuration with validation, in one lane."""

    num_lanes: int = 1
    start_seconds: float = 0.0
    """From the start of the command to the first trial."""

    promotion_seconds: float = 0.0
    """All that follows the trials, without further trainings."""

    seed_seconds: float = 0.0
    """Scoring the network of one final seed, and what it adds to the scoring of the test patients."""

    final_epoch_ratio: float = 1.0
    """What an epoch of a final training takes, relative to one of a trial: it has more slices, and no validation."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What a person has decided, and the plan does not change."""

    trials: int | None = None
    max_epochs: int | None = None
    grace_period: int | None = None
    reduction_factor: int | None = None
    final_seeds: int | None = None
    max_final_seeds: int = MAX_MEMBERS
    """The most final seeds that a plan may choose. A budget that holds more ends early."""

    fold_trainings: int = 0
    """The most trainings in folds that the promotion may need."""

    stops_early: bool = True
    """Whether the scheduler stops trials early at all."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a search that a budget is enough for."""

    trials: int
    """The default configuration among them."""

    max_epochs: int
    grace_period: int
    reduction_factor: int
    final_seeds: int
    search_seconds: float | None
    """When the search stops, counted from the start of the command; None without a clock."""

    expected_seconds: float | None
    """When the whole command is expected to end; None without a clock."""

    expected_epochs: float
    """Epochs of the default configuration that all trainings are expected to take together."""


def trial_share(first_rung: float, reduction_factor: int) -> float:
    """Return the share of a whole training that a trial takes on average, under ASHA.

    Args:
        first_rung: The share of the schedule before the first rung. With a third and factor 2, all trials train the
            first third, a half of them the second, and a quarter the last: 7/12.
    """
    share, reached, fraction, rung = 0.0, 0.0, 1.0, first_rung
    while rung < 1:
        share += fraction * (rung - reached)
        reached, rung, fraction = rung, rung * reduction_factor, fraction / reduction_factor
    return share + fraction * (1 - reached)


def plan(budget: Budget, costs: Costs, fixed: Fixed | None = None) -> Plan:
    """Return how a budget is best spent.

    Raises:
        UserError: The budget does not hold one epoch, or not what is fixed.
    """
    return _Division(budget, costs, fixed or Fixed()).plan()


class _Division:
    """The arithmetic of one plan. Lengths are in epochs of the default configuration in one lane."""

    def __init__(self, budget: Budget, costs: Costs, fixed: Fixed) -> None:
        self._budget, self._costs, self._fixed = budget, costs, fixed
        self._lanes = costs.num_lanes if budget.seconds else 1  # epochs are counted, whichever lane trains them
        self._unit = MARGIN * costs.epoch_seconds if budget.seconds else 1.0
        self._length = self._whole_length()
        self._capacity = self._length * self._lanes

    def plan(self) -> Plan:
        """Return the plan."""
        if self._fixed.trials is None and self._is_too_small():
            trials, max_epochs = 1, self._fixed.max_epochs or min(MAX_EPOCHS, int(self._length))
        else:
            trials, max_epochs = self._search()
        seeds = self._seeds(trials, max_epochs)
        left = self._final_length(seeds, max_epochs)
        spent = self._search_length(trials - 1, max_epochs) + left
        epochs = max_epochs * (1 + seeds + self._fixed.fold_trainings + (trials - 1) * self._share(max_epochs))
        costs, seconds = self._costs, self._budget.seconds
        return Plan(
            trials=trials,
            max_epochs=max_epochs,
            grace_period=self._fixed.grace_period or max(1, int(max_epochs * FIRST_RUNG)),
            reduction_factor=self._fixed.reduction_factor or REDUCTION_FACTOR,
            final_seeds=seeds,
            search_seconds=seconds and seconds - costs.promotion_seconds - left * self._unit,
            expected_seconds=seconds and costs.start_seconds + costs.promotion_seconds + spent * self._unit,
            expected_epochs=epochs,
        )

    def _whole_length(self) -> float:
        """Return how many epochs one lane can train.

        Raises:
            UserError: It is not one, or fewer than are fixed.
        """
        budget, costs, fixed = self._budget, self._costs, self._fixed
        if budget.seconds is None:
            assert budget.epochs is not None, "a budget has seconds or epochs"
            length = float(budget.epochs)
        else:
            length = (budget.seconds - costs.start_seconds - costs.promotion_seconds) / self._unit
        needed = fixed.max_epochs or 1
        if length < needed:
            wanted = f"{needed} epochs of" if needed > 1 else "one epoch of"
            raise UserError(f"budget is {budget.text!r}, which is too little for {wanted} training{self._reason()}")
        return length

    def _reason(self) -> str:
        costs = self._costs
        if self._budget.seconds is None:
            return ""
        return (
            f": an epoch takes {costs.epoch_seconds:.1f} s here, and the rest (reading, measuring, scoring, export) "
            f"about {costs.start_seconds + costs.promotion_seconds:.0f} s"
        )

    def _is_too_small(self) -> bool:
        """Return whether the budget holds too few trainings of the default for a search.

        With several lanes, a training must also be short enough that a final one can follow it: the epochs of one
        training are trained one after the other, however many lanes there are.
        """
        one = self._fixed.max_epochs or MIN_EPOCHS
        is_short = self._lanes > 1 and self._length < 2 * one
        return self._capacity < FEWEST_TRAININGS * one or is_short

    def _search(self) -> tuple[int, int]:
        """Return the number of trials and the epochs of the longest.

        The number is computed before the epochs are rounded, so that it never falls when the budget grows.
        """
        fixed = self._fixed
        longest = min(MAX_EPOCHS, self._length / 2) if self._lanes > 1 else MAX_EPOCHS
        exact = float(fixed.max_epochs or max(MIN_EPOCHS, min(longest, self._capacity / WHOLE_TRAININGS)))
        if fixed.trials is None:
            return 1 + int(SEARCH_SHARE * self._capacity / (self._share(exact) * exact)), int(exact)
        if fixed.max_epochs:
            return fixed.trials, fixed.max_epochs
        fits = self._length / self._search_length(fixed.trials - 1, 1.0)
        if fits < 1:
            raise UserError(
                f"budget is {self._budget.text!r}, which is too little for {fixed.trials} trials{self._reason()}"
            )
        return fixed.trials, int(min(fits, exact if fixed.trials > 1 else MAX_EPOCHS))

    def _share(self, max_epochs: float) -> float:
        if not self._fixed.stops_early:
            return 1.0
        grace_period = self._fixed.grace_period
        first = grace_period / max_epochs if grace_period and max_epochs > 1 else FIRST_RUNG
        return trial_share(first, self._fixed.reduction_factor or REDUCTION_FACTOR)

    def _search_length(self, num_others: int, max_epochs: float) -> float:
        """Return the length of a search of the default and other trials.

        With several lanes, this is the bound of Graham 1969 for jobs that are begun whenever a lane is free: an even
        share of the work, and at the end the longest job while other lanes are idle.
        """
        work = max_epochs * (1 + num_others * self._share(max_epochs))
        return work / self._lanes + (1 - 1 / self._lanes) * max_epochs

    def _seeds(self, trials: int, max_epochs: int) -> int:
        """Return how many final seeds there is time for, or as many as are fixed."""
        if self._fixed.final_seeds is not None:
            return self._fixed.final_seeds
        left = self._length - self._search_length(trials - 1, max_epochs) - self._final_length(0, max_epochs)
        rounds = int(max(0.0, left) / self._round_length(max_epochs))
        return min(self._fixed.max_final_seeds, rounds * self._lanes)

    def _final_length(self, seeds: int, max_epochs: int) -> float:
        """Return the length of the trainings after the search, which run side by side."""
        rounds = math.ceil(seeds / self._lanes) * self._round_length(max_epochs)
        return rounds + math.ceil(self._fixed.fold_trainings / self._lanes) * max_epochs

    def _round_length(self, max_epochs: int) -> float:
        scoring = self._costs.seed_seconds / self._unit if self._budget.seconds else 0.0
        return self._costs.final_epoch_ratio * max_epochs + scoring
