"""The study as a sampler sees it: with the trials of earlier experiments, and with paused trials as pruned ones."""

import heapq
import math
from collections import Counter
from collections.abc import Container, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

NUM_SEEN = 500
"""The most trials that a sampler sees. Its time for a suggestion grows with their number, and more help little."""


class StudyView(optuna.Study):
    """An Optuna study that shows a sampler every running or paused trial as pruned after its last epoch.

    So a sampler learns from a paused trial at once, although the trial may still continue. Optuna itself has no state
    for paused trials.
    """

    earlier: Sequence[FrozenTrial] = ()
    """Trials of other experiments, which samplers see but which are not part of this study."""

    costs: Sequence[str] = ()
    """The objectives other than Dice; their values are among a trial's user attributes."""

    at_one_epoch = False
    """Whether all trials are shown as COMPLETE after the same epoch. This is for samplers that learn from COMPLETE
    trials alone, and for any model of several objectives, because Optuna keeps a single value for a PRUNED trial."""

    def __init__(self, study_name: str, storage: BaseStorage) -> None:
        """Open a study that exists."""
        super().__init__(study_name=study_name, storage=storage)
        self._last_values: dict[int, tuple[int, float]] = {}
        """The last epoch of each trial that has ended, and its Dice, by the trial's place among all that are seen."""

    def stop(self) -> None:
        """Do nothing. A sampler that has run out of points calls this to end Optuna's own loop, which is not used."""

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials = [*self.earlier, *super()._get_trials(deepcopy=deepcopy, use_cache=use_cache)]
        trials = self._most_informative(trials)
        if self.at_one_epoch:
            seen = _at_one_epoch(trials, self.costs)
        else:
            seen = [_as_pruned(trial) if trial.state == TrialState.RUNNING else trial for trial in trials]
        return seen if states is None else [trial for trial in seen if trial.state in states]

    def _most_informative(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Return at most NUM_SEEN trials: half are the newest, and half have the most epochs, then the best Dice."""
        if len(trials) <= NUM_SEEN:
            return trials
        older = range(len(trials) - NUM_SEEN // 2)
        best = heapq.nlargest(NUM_SEEN // 2, older, key=lambda place: self._last_value(place, trials[place]))
        return [trials[place] for place in sorted(best)] + trials[-(NUM_SEEN // 2) :]

    def _last_value(self, place: int, trial: FrozenTrial) -> tuple[int, float]:
        if place in self._last_values:
            return self._last_values[place]
        last = max(trial.intermediate_values, default=0)
        value = last, trial.intermediate_values.get(last, -math.inf)
        if trial.state.is_finished():
            self._last_values[place] = value
        return value


def _at_one_epoch(trials: list[FrozenTrial], costs: Sequence[str]) -> list[FrozenTrial]:
    """Return the trials as if each had ended after the same epoch: the last one that enough trials have reached.

    Reference: Falkner et al. 2018 (BOHB), arXiv:1807.01774, section 4: the model is built at the largest budget with
    enough observations, here more than two for each axis.
    """
    reached = Counter(epoch for trial in trials for epoch in trial.intermediate_values)
    enough = [epoch for epoch, number in reached.items() if number > 2 * len(trials[0].params)]
    if not enough:
        return [trial for trial in trials if not trial.intermediate_values]
    seen = []
    for trial in trials:
        if max(enough) in trial.intermediate_values:
            values = [trial.intermediate_values[max(enough)], *(trial.user_attrs[name] for name in costs)]
            seen.append(_ended(trial, values=values))
        elif not trial.intermediate_values:
            seen.append(trial)
    return seen


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    if not trial.intermediate_values:
        return trial
    return _ended(trial, state=TrialState.PRUNED, intermediate_values=trial.intermediate_values)


def _ended(trial: FrozenTrial, **end: Any) -> FrozenTrial:
    """Return a trial as if it had ended with the state and values of `end`.

    It keeps its system attributes, in which an evolutionary sampler records the trial's generation.
    """
    ended = create_trial(
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
        **end,
    )
    ended.number = trial.number  # TPE weighs old and new trials by it
    return ended
