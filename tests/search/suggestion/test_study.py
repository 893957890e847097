"""The Optuna study that a search leaves."""

import optuna
import pytest
from optuna.trial import TrialState

from search.record.trials import State
from search.space.named import CORE
from tests.support.searching import in_space, make_searcher, observed, search, study_of

# Optuna warns that two samplers are experimental whenever one is made.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def test_study_says_how_every_trial_ended(tmp_path):
    searcher = make_searcher(study=tmp_path / "journal.log", name="mine")
    for values, state in (
        ({1: 0.5, 2: 0.75, 3: 0.625}, State.COMPLETE),
        ({1: 0.5, 2: 0.25}, State.PRUNED),
        ({1: 0.5}, State.FAILED),
        ({}, State.FAILED),
        ({}, State.PRUNED),
        ({1: 0.125}, None),
    ):
        number = searcher.suggest().number
        for epoch, value in values.items():
            searcher.report(number, epoch, value)
        if state:
            searcher.end(number, state)
    study = study_of(tmp_path / "journal.log", "mine")
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [(trial.state, trial.value, trial.intermediate_values) for trial in study.trials] == [
        (TrialState.COMPLETE, 0.75, {1: 0.5, 2: 0.75, 3: 0.625}),  # the value of its best epoch
        (TrialState.PRUNED, 0.25, {1: 0.5, 2: 0.25}),
        (TrialState.FAIL, None, {1: 0.5}),
        (TrialState.FAIL, None, {}),
        (TrialState.PRUNED, None, {}),
        (TrialState.RUNNING, None, {1: 0.125}),
    ]
    assert all(in_space(trial.params, CORE) and trial.distributions == CORE.axes for trial in study.trials)
    assert study.best_trial.number == 0


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "grid", "cmaes"])
def test_study_of_a_restored_search_says_the_same(tmp_path, sampler):
    searcher = make_searcher(sampler, study=tmp_path / "whole.log")
    before = search(searcher, 9)
    restored = make_searcher(sampler, study=tmp_path / "restored.log")
    for suggestion in before:
        restored.restore(suggestion.number, observed(suggestion))
    whole, again = (study_of(tmp_path / f"{name}.log") for name in ("whole", "restored"))
    for one, other in zip(whole.trials, again.trials, strict=True):
        # Optuna gives a pruned trial the value of its last epoch when it is told of its end, but none when it is added.
        value = other.value
        if other.state == TrialState.PRUNED and other.last_step is not None:
            value = other.intermediate_values[other.last_step]
        assert (other.number, other.state, value) == (one.number, one.state, one.value)
        assert (other.params, other.intermediate_values) == (one.params, one.intermediate_values)
        assert other.system_attrs == one.system_attrs
    whole, again = (study._storage.get_study_system_attrs(study._study_id) for study in (whole, again))
    assert again == whole


def test_study_counts_an_epoch_that_is_trained_again_once(tmp_path):
    searcher = make_searcher(study=tmp_path / "journal.log")
    searcher.suggest()
    for epoch, value in ((1, 0.5), (2, 0.625), (2, 0.625), (3, 0.25)):
        searcher.report(0, epoch, value)
    assert study_of(tmp_path / "journal.log").trials[0].intermediate_values == {1: 0.5, 2: 0.625, 3: 0.25}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_study_has_no_value_that_is_not_finite(tmp_path, value):
    searcher = make_searcher(study=tmp_path / "journal.log")
    searcher.suggest()
    searcher.report(0, 1, 0.5)
    searcher.report(0, 2, value)
    searcher.end(0, State.COMPLETE)
    [trial] = study_of(tmp_path / "journal.log").trials
    assert (trial.value, trial.intermediate_values) == (0.5, {1: 0.5})
