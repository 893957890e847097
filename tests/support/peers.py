"""Searches by other programs, which a simulation can run in the coordinator's place.

All are made alike; those that begin with a default configuration, or expect the best near it, are told which it is.
"""

import random
from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import torch
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from search.coordination.trial_progress import Leg, Phase, TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import Sample
from search.space.named import CORE
from search.suggestion.unit_cube import UnitCube
from tests.support.recorded_curves import NEAR


class _Peer(ABC):
    """A search by another program in the coordinator's place; where it never pauses, every leg is a whole trial."""

    def __init__(self, num_trials: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._num_trials = num_trials
        self.trials: dict[int, TrialProgress] = {}
        self.is_finished = True

    def next_leg(self) -> Leg | None:
        number = len(self.trials)
        if number == self._num_trials:
            return None
        sample = self.suggest(number)
        self.trials[number] = TrialProgress(number=number, sample=sample, attrs={})
        return Leg(number=number, sample=sample)

    @abstractmethod
    def suggest(self, number: int) -> Sample:
        """Return the configuration of the next trial."""

    @abstractmethod
    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        """Return whether a trial continues after an epoch."""

    def end_leg(self, number: int) -> None:
        self.trials[number].phase = Phase.ENDED

    def lose(self, number: int, error: str) -> None:
        """Fail, because no replay loses a worker group."""
        raise NotImplementedError


class NearDefault(_Peer):
    """The default, and then configurations drawn near it: what a belief is worth without learning anything."""

    def __init__(self, num_trials: int, seed: int, max_epochs: int, default: Sample) -> None:
        super().__init__(num_trials)
        self._rng, self._cube, self._default = np.random.default_rng(seed), UnitCube(CORE), default

    def suggest(self, number: int) -> Sample:
        if number == 0:
            return self._default
        (point,) = self._cube.draw_near(self._rng, self._cube.encode(self._default), NEAR)
        return self._cube.decode(point)

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        return not finished


class StockRay(_Peer):
    """Ray Tune's OptunaSearch and ASHAScheduler, called in the order in which Tune calls them."""

    def __init__(self, num_trials: int, seed: int, max_epochs: int, default: Sample) -> None:
        super().__init__(num_trials)
        self._searcher = OptunaSearch(space=dict(CORE), metric="val_dice", mode="max", seed=seed)
        self._scheduler = ASHAScheduler(time_attr="epoch", metric="val_dice", mode="max", max_t=max_epochs)
        self._controller: Any = None  # ASHA takes Tune's controller but does not use it

    def suggest(self, number: int) -> Sample:
        sample = self._searcher.suggest(str(number))
        assert sample is not None
        self._scheduler.on_trial_add(self._controller, self._trial(number))
        return sample

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        trial, result = self._trial(number), {**epoch.to_json(), "training_iteration": epoch.epoch}
        decision = TrialScheduler.STOP if finished else self._scheduler.on_trial_result(self._controller, trial, result)
        if decision == TrialScheduler.CONTINUE:
            self._searcher.on_trial_result(str(number), result)
            return True
        self._scheduler.on_trial_complete(self._controller, trial, result)
        self._searcher.on_trial_complete(str(number), result)
        return False

    def _trial(self, number: int) -> Any:
        """Return what ASHA reads of Tune's trials."""
        return SimpleNamespace(trial_id=str(number))


class OptunaAlone(_Peer):
    """Optuna's sampler and pruner, used as in its tutorial."""

    def __init__(self, num_trials: int, seed: int, max_epochs: int, default: Sample) -> None:
        super().__init__(num_trials)
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max_epochs)
        sampler = optuna.samplers.TPESampler(seed=seed)
        # Optuna draws a trial's bracket from the name of the study, which is random unless it is given.
        self._study = optuna.create_study(
            study_name=f"seed {seed}", direction="maximize", sampler=sampler, pruner=pruner
        )
        self._trials: dict[int, optuna.Trial] = {}

    def suggest(self, number: int) -> Sample:
        self._trials[number] = self._study.ask({**CORE})
        return self._trials[number].params

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        trial = self._trials[number]
        trial.report(epoch.val_dice, epoch.epoch)
        if finished:
            self._study.tell(trial, epoch.val_dice)
        elif trial.should_prune():
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            return True
        return False


class PriorBand(_Peer):
    """PriorBand of neural-pipeline-search on its asynchronous Hyperband, with the default as the prior's centre.

    Source: Mallik et al. 2023, "PriorBand: Practical Hyperparameter Optimization in the Age of Deep Learning".
    """

    def __init__(self, num_trials: int, seed: int, max_epochs: int, default: Sample) -> None:
        super().__init__(num_trials)
        import neps  # pyright: ignore[reportMissingImports]  # a peer that need not be installed

        for seed_generator in (random.seed, np.random.seed, torch.manual_seed):  # it draws from the global ones
            seed_generator(seed)
        axes = {name: _neps_axis(name, default) for name in CORE} | {"epochs": neps.IntegerFidelity(1, max_epochs)}
        space = type("Space", (neps.PipelineSpace,), axes)()
        self._search = neps.AskAndTell(
            neps.algorithms.priorband(space, base="async_hb", sample_prior_first="highest_fidelity")
        )
        self._asked: dict[int, Any] = {}
        """The newest request by trial; a request is to train a configuration until an epoch."""
        self._numbers: dict[str, int] = {}
        """Trials by the names of their requests."""

    def next_leg(self) -> Leg | None:
        try:
            asked = self._search.ask()
        except AssertionError:  # 0.17 divides by zero if no rung has enough trials for its weights
            return None
        if before := asked.metadata.previous_trial_id:
            number = self._numbers[before]
        elif (number := len(self.trials)) == self._num_trials:
            return None
        self._numbers[asked.id], self._asked[number] = number, asked
        sample = self.suggest(number)
        self.trials.setdefault(number, TrialProgress(number=number, sample=sample, attrs={})).phase = Phase.RUNNING
        return Leg(number=number, sample=sample)

    def suggest(self, number: int) -> Sample:
        return {name: self._asked[number].config[name] for name in CORE}

    def report(self, number: int, epoch: EpochMetrics, *, finished: bool, failure: str | None) -> bool:
        self.trials[number].epochs[epoch.epoch] = epoch
        if epoch.epoch < self._asked[number].config["epochs"]:
            return True
        self._search.tell(self._asked[number], -epoch.val_dice)
        return False


def _neps_axis(name: str, default: Sample) -> Any:
    import neps  # pyright: ignore[reportMissingImports]

    axis = CORE[name]
    assert isinstance(axis, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution)
    kind = neps.Float if isinstance(axis, optuna.distributions.FloatDistribution) else neps.Integer
    return kind(axis.low, axis.high, log=axis.log, prior=default[name], prior_confidence="medium")
