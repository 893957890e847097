"""Optuna as Tune's searcher, with the truth told to the study: COMPLETE, PRUNED or FAIL, and every epoch's value.

Ray's own `OptunaSearch` reports a trial that the scheduler stopped as COMPLETE with the value of its short training,
and leaves a trial whose value is nan RUNNING for ever; both mislead the sampler (tests/benchmarks/LOG.md).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.space import Space
from search.trials import METRIC, State, ended_state

NUM_RANDOM = 10
"""Trials before the sampler models anything, at most; Optuna's own default."""


class OptunaSearcher(Searcher):
    """Suggests configurations from an Optuna study, and keeps the study's record."""

    def __init__(self, study: optuna.Study, space: Space, *, num_trials: int, seed: int) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._study = study
        self._space = space
        self._num_trials = num_trials
        self._seed = seed
        self._running: dict[str, optuna.Trial] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's number and parameters."""
        number = len(self._study.get_trials(deepcopy=False))
        if number >= self._num_trials:
            return Searcher.FINISHED
        # A sampler of its own for every trial: what is suggested depends on the study alone, not on the sampler's
        # past calls, so that a search that was interrupted goes on as if it had not been.
        self._study.sampler = _make_sampler(self._seed, number, self._num_trials)
        trial = self._study.ask(self._space)
        self._running[trial_id] = trial
        return {"number": trial.number, "sample": trial.params}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record the value of an epoch."""
        self._report(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record how a trial ended."""
        trial = self._running.get(trial_id)
        if trial is None:
            return
        if result:
            # Tune does not show the searcher the result on which a trial is stopped.
            self._report(trial_id, result)
        del self._running[trial_id]
        match ended_state(result, error=error):
            case State.FAILED:
                self._study.tell(trial, state=TrialState.FAIL)
            case State.PRUNED:
                self._study.tell(trial, state=TrialState.PRUNED)
            case State.COMPLETE:
                # The best epoch's value: of the checkpoint that would be promoted.
                self._study.tell(trial, max(self._values(trial).values()))

    def stop_unfinished(self) -> None:
        """Record trials that were cut off with the whole search as PRUNED: their epochs count, their end does not."""
        for trial in self._running.values():
            self._study.tell(trial, state=TrialState.PRUNED)
        self._running.clear()

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the record."""

    def _report(self, trial_id: str, result: dict[str, Any]) -> None:
        trial, value = self._running.get(trial_id), result.get(METRIC, math.nan)
        if trial is None or not math.isfinite(value):
            return
        if result["epoch"] not in self._values(trial):  # an epoch that is done again after a loss counts once
            trial.report(value, result["epoch"])

    def _values(self, trial: optuna.Trial) -> dict[int, float]:
        return self._study.get_trials(deepcopy=False)[trial.number].intermediate_values


def open_study(path: Path, name: str) -> optuna.Study:
    """Return the study of an experiment, kept in a journal file that survives any death of its writer."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the search says itself what happens
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def _make_sampler(seed: int, number: int, num_trials: int) -> BaseSampler:
    own_seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    num_random = min(NUM_RANDOM, max(3, num_trials // 4))
    return TPESampler(multivariate=True, n_startup_trials=num_random, seed=own_seed)
