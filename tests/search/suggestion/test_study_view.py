"""The study as a sampler sees it."""

import pytest
from optuna.trial import TrialState

from search.record.trials import State
from search.suggestion import study_view
from search.suggestion.searcher import OptunaSearcher
from tests.support.searching import (
    MAX_EPOCHS,
    ONE_AXIS,
    earlier_trials,
    in_space,
    make_searcher,
    search,
    study_of,
    train,
    train_by_hand,
)

# Optuna warns that two samplers are experimental whenever one is made.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def test_sampler_sees_a_paused_trial_as_pruned_but_the_study_does_not(tmp_path):
    searcher = make_searcher("grid", study=tmp_path / "journal.log")  # which keeps attributes of each trial
    for num_epochs in (2, 0):
        train(searcher, None, num_epochs=num_epochs)
    waiting, begun = searcher._study.get_trials(deepcopy=False)
    assert (waiting.state, waiting.intermediate_values.keys()) == (TrialState.PRUNED, {1, 2})
    assert begun.state == TrialState.RUNNING
    recorded = study_of(tmp_path / "journal.log").trials[0]
    assert (waiting.params, waiting.distributions) == (recorded.params, recorded.distributions)
    assert waiting.system_attrs == recorded.system_attrs != {}
    assert [trial.state for trial in study_of(tmp_path / "journal.log").trials] == [TrialState.RUNNING] * 2
    searcher.report(0, 3, 0.5)
    assert searcher._study.get_trials(deepcopy=False)[0].last_step == 3
    searcher.end(0, State.COMPLETE)
    assert searcher._study.get_trials(deepcopy=False)[0].state == TrialState.COMPLETE


def test_sampler_sees_trials_with_their_numbers():
    searcher = make_searcher()
    search(searcher, 4)
    assert [trial.number for trial in searcher._study.get_trials(deepcopy=False)] == [0, 1, 2, 3]


def seen_by(searcher: OptunaSearcher, *states: TrialState) -> list[tuple[int, TrialState, float | None]]:
    trials = searcher._study._get_trials(deepcopy=False, states=states or None)
    return [(trial.number, trial.state, trial.values and trial.value) for trial in trials]


def test_gp_sees_nothing_before_enough_trials_reached_an_epoch(tmp_path):
    searcher = make_searcher("gp", space=ONE_AXIS, study=tmp_path / "journal.log")
    for values, state in (([0.5, 0.7], State.COMPLETE), ([0.25], None), ([], State.FAILED), ([], None)):
        train_by_hand(searcher, values, state)
    assert seen_by(searcher) == [
        (2, TrialState.FAIL, None),
        (3, TrialState.RUNNING, None),
    ]  # two are too few
    train_by_hand(searcher, [0.125], State.PRUNED)
    assert seen_by(searcher, TrialState.COMPLETE) == [
        (number, TrialState.COMPLETE, value) for number, value in ((0, 0.5), (1, 0.25), (4, 0.125))
    ]
    assert seen_by(searcher, TrialState.RUNNING) == [(3, TrialState.RUNNING, None)]
    states = [trial.state for trial in study_of(tmp_path / "journal.log").trials]  # the study itself is unchanged
    assert states == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL, TrialState.RUNNING, TrialState.PRUNED]


def test_gp_sees_trials_at_the_last_epoch_that_enough_reached():
    searcher = make_searcher("gp", space=ONE_AXIS)
    for values, state in (
        ([0.1, 0.2, 0.3], State.COMPLETE),
        ([0.9], State.PRUNED),
        ([0.4, 0.5], None),
        ([0.8, 0.7, 0.6], State.COMPLETE),  # its best epoch was an earlier one
    ):
        train_by_hand(searcher, values, state)
    complete = TrialState.COMPLETE
    assert seen_by(searcher) == [(0, complete, 0.2), (2, complete, 0.5), (3, complete, 0.7)]
    searcher.report(2, 3, 0.55)
    assert seen_by(searcher) == [(0, complete, 0.3), (2, complete, 0.55), (3, complete, 0.6)]
    assert all(in_space(trial.params, ONE_AXIS) for trial in searcher._study.get_trials(deepcopy=False))


def test_gp_needs_more_than_two_trials_for_each_axis():
    searcher = make_searcher("gp")
    search(searcher, 8, (None,))
    assert seen_by(searcher) == []
    search(searcher, 1, (None,))
    assert len(seen_by(searcher, TrialState.COMPLETE)) == 9


def test_gp_learns_from_earlier_trials_at_the_same_epoch():
    searcher = make_searcher("gp", earlier=earlier_trials(9))
    train(searcher, None, num_epochs=2)
    train(searcher, State.COMPLETE)
    values = [value for _, _, value in seen_by(searcher, TrialState.COMPLETE)]
    assert len(values) == 10  # the paused trial has not reached the last epoch
    curves = [observation.values[MAX_EPOCHS] for observation in earlier_trials(9)]
    assert values[:9] == curves


def test_sampler_sees_only_the_longest_best_and_newest_of_many_trials(monkeypatch):
    monkeypatch.setattr(study_view, "NUM_SEEN", 4)
    searcher = make_searcher("random", space=ONE_AXIS)
    for values in ([0.9], [0.2, 0.3], [0.1, 0.4], [0.5], [0.1, 0.2], [0.0], []):
        train_by_hand(searcher, values, State.PRUNED)
    assert [number for number, _, _ in seen_by(searcher)] == [1, 2, 5, 6]
    assert searcher.num_suggested == searcher.suggest().number == 7


def test_sampler_sees_only_the_states_it_asks_for():
    searcher = make_searcher(earlier=earlier_trials(2))
    train(searcher, None, num_epochs=1)
    train(searcher, State.PRUNED, num_epochs=1)
    train(searcher, None, num_epochs=0)
    counts = {
        state: len(searcher._study._get_trials(deepcopy=False, states=(state,)))
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL)
    }
    assert list(counts.values()) == [2, 2, 1, 0]
