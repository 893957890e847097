"""Searchers: which configuration is tried next. Optuna's samplers, and a study that is told the truth.

The study knows every epoch's value, and how a trial ended: COMPLETE, PRUNED or FAIL. (Ray's own `OptunaSearch` reports
a trial that the scheduler stopped as COMPLETE with the value of its short training, and leaves a trial whose value is
nan RUNNING for ever; both mislead the sampler.)
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.record.objectives import OBJECTIVES, costs
from search.record.trials import METRIC, State
from search.space import Sample, Space
from search.suggestion.samplers import COMPLETE_ONLY, MODELS, SAMPLERS, SamplerRequest, SamplersView

NUM_RANDOM = 10
"""Trials before a sampler models anything, at most; Optuna's own default."""

RANDOM_EVERY = 3
"""One in so many suggestions of a model is random; of BOHB (Falkner et al. 2018, arXiv:1807.01774), its rho of 1/3."""

NO_COSTS: Mapping[str, float] = {}

STATES = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A configuration to try."""

    number: int
    sample: Sample
    attrs: dict[str, Any]
    """What the sampler must remember to go on from here after a restart; most remember nothing."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is known of a trial, here or in an earlier experiment."""

    sample: Sample
    values: dict[int, float]
    """Validation Dice by epoch; finite ones alone."""

    state: State | None
    """None: not ended."""

    attrs: dict[str, Any]
    costs: dict[str, float] = field(default_factory=dict)
    """By the objectives other than Dice."""


class OptunaSearcher:
    """Suggests configurations, and keeps the study."""

    def __init__(
        self,
        space: Space,
        *,
        sampler: str,
        seed: int,
        num_trials: int,
        max_epochs: int,
        objectives: Sequence[str] = (METRIC,),
        study: Path | None = None,
        name: str = "search",
        first: Sequence[Sample] = (),
        earlier: Sequence[Observation] = (),
    ) -> None:
        """Begin a study.

        Args:
            objectives: Validation Dice, and what else a trial is judged by.
            study: The journal file to write; None keeps the study in memory.
            name: Of the study.
            first: Samples to try before any other; axes that one leaves out are sampled.
            earlier: Trials of other experiments, in this space, for the sampler to learn from.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # the search says itself what happens
        storage = JournalStorage(JournalFileBackend(str(study))) if study else InMemoryStorage()
        directions = [OBJECTIVES[objective].direction for objective in objectives]
        optuna.create_study(storage=storage, study_name=name, directions=directions)
        self._study = SamplersView(study_name=name, storage=storage)
        if len(objectives) > 1:
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                self._study.set_metric_names(list(objectives))  # for those who look at the study file
        self._costs = self._study.costs = costs(objectives)
        self._study.earlier = [self._frozen(space, one) for one in earlier]
        self._space = space
        self._sampler = sampler
        self._study.at_one_epoch = sampler in COMPLETE_ONLY or (bool(self._costs) and sampler in MODELS)
        self._seed = seed
        self._num_random = min(NUM_RANDOM, max(3, num_trials // 4))
        self._max_epochs = max_epochs
        self._first = first
        self._running: dict[int, optuna.Trial] = {}
        self._reported: dict[int, dict[int, float]] = {}

    @property
    def num_suggested(self) -> int:
        """Configurations that were suggested so far."""
        return len(self._reported)

    def suggest(self) -> Suggestion:
        """Return the next configuration."""
        number = self.num_suggested
        if number < len(self._first):
            self._study.enqueue_trial(self._first[number])
        # A sampler of its own for every trial: what is suggested depends on the study alone, not on the sampler's
        # past calls, so that a search that was interrupted goes on as if it had not been.
        own_seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        make = SAMPLERS["random" if self._is_random(number) else self._sampler]
        self._study.sampler = make(
            SamplerRequest(
                space=self._space,
                seed=own_seed,
                whole_seed=self._seed,
                num_random=self._num_random,
                max_epochs=self._max_epochs,
            )
        )
        trial = self._study.ask(self._space)
        assert trial.number == number, "the study was written to by somebody else"
        self._running[number], self._reported[number] = trial, {}
        return Suggestion(number=number, sample=trial.params, attrs=self._attrs(trial))

    def report(self, number: int, epoch: int, value: float, *, costs: Mapping[str, float] = NO_COSTS) -> None:
        """Record the validation Dice of an epoch; once, if it is done again after a loss."""
        if not math.isfinite(value) or epoch in self._reported[number]:
            return
        trial = self._running[number]
        if not self._reported[number]:
            for name, cost in costs.items():
                trial.set_user_attr(name, cost)
        self._reported[number][epoch] = value
        # Not by the trial's own `report`, which refuses where there are several objectives.
        self._study._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)

    def end(self, number: int, state: State) -> None:
        """Record how a trial ended; a COMPLETE one with its best epoch's value, that of its best checkpoint."""
        trial, values = self._running.pop(number), None
        if state == State.COMPLETE:
            values = [max(self._reported[number].values()), *(trial.user_attrs[name] for name in self._costs)]
        self._study.tell(trial, values, state=STATES[state])

    def restore(self, number: int, observation: Observation) -> None:
        """Add a trial of this search that was suggested before a restart, in the order of numbers."""
        assert number == self.num_suggested
        for key, value in observation.attrs.get("study", {}).items():
            self._study._storage.set_study_system_attr(self._study._study_id, key, value)
        self._study.add_trial(self._frozen(self._space, observation))
        self._reported[number] = dict(observation.values)
        if observation.state is None:
            frozen = self._study._storage.get_all_trials(self._study._study_id, deepcopy=False)[number]
            self._running[number] = optuna.Trial(self._study, frozen._trial_id)

    def _is_random(self, number: int) -> bool:
        """Whether a suggestion is drawn without the model: it may be wrong, and a model that is never finds out."""
        return self._sampler in MODELS and number % RANDOM_EVERY == RANDOM_EVERY - 1

    def _frozen(self, space: Space, observation: Observation) -> FrozenTrial:
        state = TrialState.RUNNING if observation.state is None else STATES[observation.state]
        values = None
        if state == TrialState.COMPLETE:
            values = [max(observation.values.values()), *(observation.costs[name] for name in self._costs)]
        return create_trial(
            state=state,
            values=values,
            params=observation.sample,
            distributions={name: space[name] for name in observation.sample},
            intermediate_values=observation.values,
            user_attrs=observation.costs,
            system_attrs=observation.attrs.get("trial", {}),
        )

    def _attrs(self, trial: optuna.Trial) -> dict[str, Any]:
        attrs = {
            "trial": self._study._storage.get_trial_system_attrs(trial._trial_id),
            "study": self._study._storage.get_study_system_attrs(self._study._study_id),
        }
        return {key: value for key, value in attrs.items() if value}
