"""Divide a budget among the default configuration, other trials, and the winner's trainings with other seeds.

Everything is counted in epochs of the default configuration, so that one arithmetic serves budgets of time and of
epochs. A budget's *capacity* is the number of epochs that all lanes together can train in it.
"""

import math
from dataclasses import dataclass, replace

from data.errors import UserError
from search.planning.budget import Budget
from search.planning.costs import IN_EPOCHS, Costs
from search.promotion.options import MAX_MEMBERS

MIN_STEPS = 500
"""The optimisation steps of the shortest schedule that a plan chooses for several trials. On 20 LGG patients the
default reached a Dice of 0.62 in 220 steps, 0.64 and 0.67 in 670, and 0.65 in 1,300 (tests/benchmarks/LOG.md)."""

MIN_EPOCHS, MAX_EPOCHS = 9, 81
"""The fewest epochs of that schedule, however many steps they have, because rungs at 3 and 6 would compare noise; and
the most of any schedule, because more have not been seen to help."""

WHOLE_TRAININGS = 12
"""How many trainings of the default a budget holds, if its schedule is neither the shortest nor the longest. Between 8
and 16, half of the budget is enough for a sampler to learn something, and a training is still long enough to end
well."""

FEWEST_TRAININGS = 8
"""If all lanes together hold fewer of the shortest trainings than this, there is no search: the default is trained, and
final seeds of it have the rest. On LGG, further seeds and patients gained more than any other configuration, and too
few trials cannot tell which is better (tests/benchmarks/LOG.md)."""

FEWEST_PATIENTS = 20
"""If trials are compared on fewer patients than this, final seeds of the default have all that they can use, and a
search has only the rest. In replays with 1 to 19 validation patients and a budget of eight trainings, averages of the
default gained 0.01 to 0.05 over one training of it, and on three of five tasks the best of all configurations was
worse than such an average. With a spread of 0.1 over patients, as on LGG, one of seven trials is clearly better than
the default (search/promotion/ranking.py) if it gains 0.15 on 4 patients, 0.06 on 12, or 0.04 on 22
(tests/benchmarks/LOG.md)."""

SEARCH_SHARE = 0.5
"""The share of a budget for trials other than the default. The best of many short trials is chosen partly by luck,
while the default and the winner's further trainings gain for certain. Trials get more only if the budget holds more
final seeds than there may be."""

FIRST_RUNG = 1 / 3
"""The share of the schedule before the first rung; earlier, the rank of a trial says little about its final rank."""

REDUCTION_FACTOR = 2
"""With a first rung at a third, there are two rungs; a larger factor would leave one, and stop trials on one look."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """These values were decided by a person or follow from the data, and the plan does not change them."""

    least_epochs: int = MIN_EPOCHS
    """The fewest epochs that a plan chooses for several trials (see `least_epochs`)."""

    trials: int | None = None
    max_epochs: int | None = None
    grace_period: int | None = None
    reduction_factor: int | None = None
    final_seeds: int | None = None
    max_final_seeds: int = MAX_MEMBERS
    """The most final seeds that a plan may choose."""

    final_epochs: int | None = None
    """Epochs of a final seed, if they are not those of a trial."""

    num_patients: int = FEWEST_PATIENTS
    """Patients on whom trials are compared."""

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
    """When the search must stop, so that the rest is done in time, counted from the start of the command; None without
    a clock."""


def least_epochs(steps_per_epoch: int) -> int:
    """Return the fewest epochs that a plan chooses for several trials, which is from MIN_EPOCHS to MAX_EPOCHS."""
    return min(MAX_EPOCHS, max(MIN_EPOCHS, math.ceil(MIN_STEPS / steps_per_epoch)))


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

    Args:
        costs: They do not matter for a budget of epochs.

    Raises:
        UserError: The budget does not hold one epoch, or not what is fixed.
    """
    return _Division(budget, costs if budget.seconds else IN_EPOCHS, fixed or Fixed()).plan()


class _Division:
    """The arithmetic of one plan."""

    def __init__(self, budget: Budget, costs: Costs, fixed: Fixed) -> None:
        self._budget, self._costs, self._fixed = budget, costs, fixed
        self._lanes = costs.num_lanes
        seeds = fixed.final_seeds or 0
        self._length = costs.length(budget.amount) - costs.seeds_length(seeds, fixed.final_epochs or 0)
        self._after = self._growth(seeds) + costs.rounds(fixed.fold_trainings)
        """The length of the trainings that are fixed after the search, relative to that of one training."""

    def plan(self) -> Plan:
        """Return the plan."""
        fixed, costs = self._fixed, self._costs
        trials, max_epochs = self._search()
        if max_epochs < 1 or (1 + self._after) * max_epochs > self._length:
            raise UserError(self._complaint())
        if fixed.grace_period and fixed.grace_period > max_epochs:
            raise UserError(
                f"grace_period is {fixed.grace_period}, but must be at most max_epochs, which is {max_epochs} with a "
                f"budget of {self._budget.text}"
            )
        search, left = self._search_length(trials, max_epochs), self._length - self._after * max_epochs
        seeds = fixed.final_seeds
        if seeds is None:
            seeds = self._seeds_in(left - search, max_epochs)
            left -= self._seeds_length(seeds, max_epochs)
        has_clock = self._budget.seconds is not None
        return Plan(
            trials=trials,
            max_epochs=max_epochs,
            grace_period=fixed.grace_period or max(1, int(max_epochs * FIRST_RUNG)),
            reduction_factor=fixed.reduction_factor or REDUCTION_FACTOR,
            final_seeds=seeds,
            search_seconds=costs.start_seconds + left * costs.planned_epoch_seconds if has_clock else None,
        )

    def _search(self) -> tuple[int, int]:
        """Return the number of trials, and the epochs of one that is not stopped early.

        The number of trials is computed before the epochs are rounded, so that it never falls when the budget grows.
        """
        fixed, least = self._fixed, self._fixed.max_epochs or self._fixed.least_epochs
        usual = self._lanes * self._length / (WHOLE_TRAININGS + self._lanes * self._after)
        if fixed.trials is None and self._length < (self._after + self._fewest_trainings()) * least:
            fixed = replace(fixed, trials=1)
        longest = self._length_with_seeds(max(least, usual))
        seeds_use_all = fixed.num_patients < FEWEST_PATIENTS and self._lanes == 1 and longest <= MAX_EPOCHS
        if fixed.trials == 1 or (fixed.trials is None and fixed.max_epochs is None and seeds_use_all):
            return 1, fixed.max_epochs or int(min(MAX_EPOCHS, longest))
        if fixed.trials is not None:
            fits = self._length / (self._after + self._search_length(fixed.trials, 1.0))
            return fixed.trials, fixed.max_epochs or int(min(MAX_EPOCHS, fits, max(least, usual)))
        fits = self._length / (3 + self._after)  # the default, other trials and final seeds, one after the other
        exact = fixed.max_epochs or max(least, min(MAX_EPOCHS, usual, fits))
        num_others = self._work_of_others(exact) / (exact * self._share(exact))
        return max(self._lanes, 1 + int(num_others + 1e-9)), int(exact)

    def _fewest_trainings(self) -> float:
        """Return how many trainings, one after the other, a budget must hold for a search.

        With several lanes, fewer are enough, because others run beside them; but one must be able to follow another.
        """
        return max(2.0, FEWEST_TRAININGS / self._lanes)

    def _length_with_seeds(self, shortest: float) -> float:
        """Return the epochs of the only trial that leave room for as many final seeds as fit with the shortest."""
        seeds = 0
        if self._fixed.final_seeds is None:
            seeds = self._seeds_in(self._length - (1 + self._after) * shortest, shortest)
        return (self._length - self._seeds_length(seeds, 0)) / (1 + self._after + self._growth(seeds))

    def _seeds_length(self, num_seeds: int, max_epochs: float) -> float:
        """Return the length of final seeds after a search with schedules of some epochs."""
        return self._costs.seeds_length(num_seeds, self._fixed.final_epochs or max_epochs)

    def _seeds_in(self, length: float, max_epochs: float) -> int:
        return self._costs.seeds_in(length, self._fixed.final_epochs or max_epochs, self._fixed.max_final_seeds)

    def _growth(self, num_seeds: int) -> float:
        """Return by how much the length of final seeds grows with each epoch of a schedule."""
        return 0.0 if self._fixed.final_epochs else self._costs.final_epoch_ratio * self._costs.rounds(num_seeds)

    def _work_of_others(self, max_epochs: float) -> float:
        """Return how many epochs all trials but the default may train together; a final seed comes before them."""
        room = self._lanes * (self._length - (1 + self._after) * max_epochs)
        if self._fixed.final_seeds is not None:
            return room
        one, most = (self._lanes * self._seeds_length(n, max_epochs) for n in (1, self._fixed.max_final_seeds))
        share = SEARCH_SHARE if self._fixed.num_patients >= FEWEST_PATIENTS else 0.0
        return max(0.0, min(room - one, share * self._lanes * self._length), room - most)

    def _share(self, max_epochs: float) -> float:
        if not self._fixed.stops_early:
            return 1.0
        grace_period = self._fixed.grace_period
        first = grace_period / max_epochs if grace_period and max_epochs > 1 else FIRST_RUNG
        return trial_share(first, self._fixed.reduction_factor or REDUCTION_FACTOR)

    def _search_length(self, num_trials: int, max_epochs: float) -> float:
        """Return the length of a search of the default and other trials.

        With more trials than lanes, this is the bound of Graham 1969 for jobs that are begun whenever a lane is free:
        an even share of the work, and at the end the longest job while other lanes are idle.
        """
        if num_trials <= self._lanes:
            return max_epochs
        work = max_epochs * (1 + (num_trials - 1) * self._share(max_epochs))
        return work / self._lanes + (1 - 1 / self._lanes) * max_epochs

    def _complaint(self) -> str:
        fixed, costs = self._fixed, self._costs
        wanted = f"{fixed.max_epochs} epochs" if fixed.max_epochs and fixed.max_epochs > 1 else "one epoch"
        if (fixed.trials or 1) > 1 and not fixed.max_epochs:
            wanted += f" of {fixed.trials} trials"
        text = f"budget is {self._budget.text!r}, which is too little for {wanted}"
        if self._after:
            text += " with the final seeds and folds"
        if self._budget.seconds:
            rest = costs.start_seconds + costs.promotion_seconds
            text += (
                f": an epoch takes {costs.epoch_seconds:.1f} s here, and the rest (reading, measuring, scoring, "
                f"export) about {rest:.0f} s"
            )
        return f"{text}; give a larger one"
