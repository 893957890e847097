"""The searcher, which suggests configurations with one of Optuna's samplers, and keeps the Optuna study.

The study holds the value of every epoch, and how each trial ended: COMPLETE, PRUNED or FAIL. Ray's own `OptunaSearch`
reports a trial that the scheduler stopped as COMPLETE with the value of its short training, and a trial whose value is
nan stays RUNNING for ever. Both mislead the sampler.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import InMemoryStorage, JournalStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from threadpoolctl import ThreadpoolController

from data.legal import Value
from search.record.epochs import METRIC
from search.record.objectives import OBJECTIVES, costs
from search.record.trials import Sample, State
from search.space.space import Expectation, Space
from search.suggestion.gaussian_process import Prior
from search.suggestion.samplers import SAMPLERS, SamplerRequest
from search.suggestion.study_file import StudyFile
from search.suggestion.study_view import StudyView

NUM_RANDOM = 10
"""The most random trials before a sampler builds a model; Optuna's own default."""

RANDOM_EVERY = 3
"""One suggestion in three is random if the sampler builds a model: rho = 1/3 in BOHB (Falkner et al. 2018,
arXiv:1807.01774)."""

LIBRARIES = ThreadpoolController()
"""The libraries for linear algebra that the imports above have loaded."""

Attributes: TypeAlias = dict[str, dict[str, Any]]
"""Optuna's system attributes of the "trial" and of the "study", which some samplers need after a restart."""

NO_COSTS: Mapping[str, float] = {}

STATES = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A configuration to try."""

    number: int
    sample: Sample
    attrs: Attributes


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the sampler learns from a trial of this search or of an earlier experiment."""

    sample: Sample
    values: dict[int, float]
    """Validation Dice by epoch, where it is finite."""

    state: State | None
    """How the trial ended; None if it has not."""

    attrs: Attributes
    costs: dict[str, float] = field(default_factory=dict)
    """Values of the objectives other than Dice."""


class OptunaSearcher:
    """Suggests configurations and keeps the study."""

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
        expected: Mapping[str, Expectation] | None = None,
        prior: Prior | None = None,
    ) -> None:
        """Begin a study.

        Args:
            sampler: A name in SAMPLERS.
            objectives: Validation Dice first, then any others.
            study: The journal file to write; None keeps the study in memory.
            name: Name of the study.
            first: Samples to try before any other; axes that a sample leaves out are sampled.
            earlier: Trials of other experiments in this space, for the sampler to learn from.
            expected: What a person expects of axes.
            prior: What `prior_gp` believes before the first trial.
        """
        self._study = _create_study(objectives, study, name)
        self._costs = self._study.costs = costs(objectives)
        self._study.earlier = [self._frozen(space, one) for one in earlier]
        self._space = space
        self._sampler = SAMPLERS[sampler]
        self._study.at_one_epoch = self._sampler.complete_only or (bool(self._costs) and self._sampler.is_model)
        self._seed = seed
        self._num_random = min(NUM_RANDOM, max(3, num_trials // 4))
        self._max_epochs = max_epochs
        self._first, self._expected, self._prior = first, expected or {}, prior
        self._running: dict[int, optuna.Trial] = {}
        self._reported: dict[int, dict[int, float]] = {}

    @property
    def num_suggested(self) -> int:
        """Number of configurations suggested so far."""
        return len(self._reported)

    def suggest(self) -> Suggestion:
        """Return the next configuration."""
        number = self.num_suggested
        if is_given := number < len(self._first):
            self._study.enqueue_trial(self._first[number])
        kind = SAMPLERS["random"] if is_given or self._is_random(number) else self._sampler
        self._study.sampler = kind.make(self._request(number))
        trial = self._study.ask()
        assert trial.number == number, "another process has written to the study"
        sample: Sample = {}
        # Beside lanes that train, several threads wait for each other longer than they compute.
        with LIBRARIES.limit(limits=1, user_api="blas"):
            for name, axis in self._space.items():
                if self._space.is_active(name, sample):
                    sample[name] = _suggest(trial, name, axis)
        self._running[number], self._reported[number] = trial, {}
        return Suggestion(number=number, sample=sample, attrs=self._attrs(trial))

    def report(self, number: int, epoch: int, value: float, *, costs: Mapping[str, float] = NO_COSTS) -> None:
        """Record the validation Dice of an epoch. If it is trained again after a loss, the first value counts."""
        if not math.isfinite(value) or epoch in self._reported[number]:
            return
        trial = self._running[number]
        if not self._reported[number]:
            for name, cost in costs.items():
                trial.set_user_attr(name, cost)
        self._reported[number][epoch] = value
        # Optuna's `Trial.report` raises if there are several objectives.
        self._study._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)

    def end(self, number: int, state: State) -> None:
        """Record how a trial ended; the value of a COMPLETE trial is that of its best epoch and checkpoint."""
        trial, values = self._running.pop(number), None
        if state == State.COMPLETE:
            values = [max(self._reported[number].values()), *(trial.user_attrs[name] for name in self._costs)]
        self._study.tell(trial, values, state=STATES[state])

    def restore(self, number: int, observation: Observation) -> None:
        """Add a trial of this search that was suggested before a restart; call it in the order of the numbers."""
        assert number == self.num_suggested
        for key, value in observation.attrs.get("study", {}).items():
            self._study._storage.set_study_system_attr(self._study._study_id, key, value)
        self._study.add_trial(self._frozen(self._space, observation))
        self._reported[number] = dict(observation.values)
        if observation.state is None:
            frozen = self._study._storage.get_all_trials(self._study._study_id, deepcopy=False)[number]
            self._running[number] = optuna.Trial(self._study, frozen._trial_id)

    def _is_random(self, number: int) -> bool:
        """Return whether a suggestion is random: a wrong model would never suggest what could correct it."""
        return self._sampler.is_model and number % RANDOM_EVERY == RANDOM_EVERY - 1

    def _request(self, number: int) -> SamplerRequest:
        # Every trial has a sampler of its own. So a suggestion depends on the study alone, not on the sampler's past
        # calls, and a resumed search gets the suggestions that it would have got without the interruption.
        return SamplerRequest(
            space=self._space,
            seed=int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0]),
            search_seed=self._seed,
            num_random=self._num_random,
            max_epochs=self._max_epochs,
            costs=self._costs,
            expected=self._expected,
            prior=self._prior,
        )

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

    def _attrs(self, trial: optuna.Trial) -> Attributes:
        attrs = {
            "trial": self._study._storage.get_trial_system_attrs(trial._trial_id),
            "study": self._study._storage.get_study_system_attrs(self._study._study_id),
        }
        return {key: value for key, value in attrs.items() if value}


def _suggest(trial: optuna.Trial, name: str, axis: BaseDistribution) -> Value:
    match axis:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
    raise AssertionError(f"{axis} is a kind of axis that no space has")


def _create_study(objectives: Sequence[str], file: Path | None, name: str) -> StudyView:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the search itself prints what happens
    storage = JournalStorage(StudyFile(file)) if file else InMemoryStorage()
    optuna.create_study(
        storage=storage,
        study_name=name,
        directions=[OBJECTIVES[objective].direction for objective in objectives],
    )
    study = StudyView(study_name=name, storage=storage)
    if len(objectives) > 1:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            study.set_metric_names(list(objectives))  # for people who open the study file
    return study
