"""The searcher, driven by hand on learning curves in closed form: first samples, earlier trials, restarts."""

import statistics

import pytest
from optuna.trial import TrialState

from search.record.trials import State
from search.space.named import CORE
from search.suggestion.samplers import SAMPLERS
from search.suggestion.searcher import Observation
from tests.support.fakes import learning_curve
from tests.support.searching import (
    FULL,
    MAX_EPOCHS,
    MIXED,
    earlier_trials,
    in_space,
    make_searcher,
    observed,
    samples_of,
    search,
    study_of,
    train,
)

# Optuna warns that two samplers are experimental whenever one is made.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def test_searcher_numbers_its_suggestions():
    searcher = make_searcher()
    assert [searcher.suggest().number for _ in range(3)] == [0, 1, 2]
    assert searcher.num_suggested == 3


# Enough trials for each sampler to build a model: gp needs nine at one epoch, cmaes generations of eight.
RESTARTS = [
    *((sampler, cut, MIXED) for sampler in ("tpe", "random", "qmc", "grid") for cut in (1, 2, 7, 16)),
    *(("cmaes", cut, MIXED) for cut in (1, 9, 20, 33)),
    *(("gp", cut, MIXED) for cut in (1, 9)),
]


@pytest.mark.parametrize(("sampler", "cut", "states"), RESTARTS)
@pytest.mark.parametrize("first", [[], [FULL, FULL | {"depth": 2}]], ids=["", "first"])
def test_searcher_suggests_the_same_after_a_restart(sampler, cut, states, first):
    searcher = make_searcher(sampler, first=first)
    before = search(searcher, cut, states)
    expected = samples_of(search(searcher, 2, states))
    restored = make_searcher(sampler, first=first)
    for suggestion in before:
        restored.restore(suggestion.number, observed(suggestion, states))
    assert samples_of(search(restored, 2, states)) == expected


@pytest.mark.parametrize(("sampler", "num_trials"), [("tpe", 5), ("gp", 10), ("cmaes", 10)])
def test_searcher_models_what_it_was_told(sampler, num_trials):
    """Without this, the test above might compare random suggestions with random ones."""
    told = samples_of(search(make_searcher(sampler), num_trials, (State.COMPLETE,)))
    chance = samples_of(search(make_searcher("random"), num_trials, (State.COMPLETE,)))
    assert told[0] == chance[0]
    assert told[-1] != chance[-1]


def test_searcher_suggests_the_same_after_two_restarts(tmp_path):
    expected = samples_of(search(make_searcher("qmc"), 9))
    found = []
    for _ in range(3):
        searcher = make_searcher("qmc")
        for suggestion in found:
            searcher.restore(suggestion.number, observed(suggestion))
        found += search(searcher, 3)
    assert samples_of(found) == expected


def test_searcher_restores_a_running_trial_that_can_still_end(tmp_path):
    searcher = make_searcher(study=tmp_path / "journal.log")
    searcher.restore(0, Observation(sample=FULL, values={1: 0.25, 2: 0.5}, state=None, attrs={}))
    searcher.report(0, 2, 0.75)  # trained again
    searcher.report(0, 3, 0.625)
    searcher.end(0, State.COMPLETE)
    [trial] = study_of(tmp_path / "journal.log").trials
    assert (trial.state, trial.params) == (TrialState.COMPLETE, FULL)
    assert trial.intermediate_values == {1: 0.25, 2: 0.5, 3: 0.625}
    assert trial.value == 0.625


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_searcher_tries_the_first_samples_before_any_other(sampler):
    first = [FULL, FULL | {"depth": 2}]
    suggested = samples_of(search(make_searcher(sampler, first=first), 4))
    assert suggested[:2] == first
    assert all(in_space(sample, CORE) and sample not in first for sample in suggested[2:])


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"grid"}))  # a config refuses samples to try with the grid
def test_searcher_completes_a_first_sample_that_is_partial(sampler):
    searcher = make_searcher(sampler, first=[{"learning_rate": 0.002}, {"depth": 5, "dropout": 0.25}])
    suggested = samples_of(search(searcher, 2))
    assert all(in_space(sample, CORE) for sample in suggested)
    assert suggested[0]["learning_rate"] == 0.002
    assert (suggested[1]["depth"], suggested[1]["dropout"]) == (5, 0.25)


def test_searcher_learns_from_earlier_trials():
    def first_value(seed: int, earlier: list[Observation]) -> float:
        return learning_curve(make_searcher(seed=seed, earlier=earlier).suggest().sample, MAX_EPOCHS)

    told, untold = ([first_value(seed, earlier) for seed in range(12)] for earlier in (earlier_trials(40), []))
    assert statistics.mean(told) > statistics.mean(untold) + 0.03
    assert statistics.stdev(told) > 0  # it suggests something of its own


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_searcher_does_not_count_earlier_trials_as_its_own(tmp_path, sampler):
    searcher = make_searcher(sampler, study=tmp_path / "journal.log", earlier=earlier_trials(4))
    assert [suggestion.number for suggestion in search(searcher, 2)] == [0, 1]
    assert searcher.num_suggested == 2
    assert len(study_of(tmp_path / "journal.log").trials) == 2


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "cmaes"])
def test_searcher_with_earlier_trials_suggests_the_same_after_a_restart(sampler):
    searcher = make_searcher(sampler, earlier=earlier_trials(12))
    before, expected = search(searcher, 6), samples_of(search(searcher, 2))
    restored = make_searcher(sampler, earlier=earlier_trials(12))
    for suggestion in before:
        restored.restore(suggestion.number, observed(suggestion))
    assert samples_of(search(restored, 2)) == expected


def test_searcher_learns_from_paused_trials():
    told, untold = make_searcher(), make_searcher()
    for _ in range(4):
        train(told, None, num_epochs=2)
        train(untold, None, num_epochs=0)
    assert told.suggest().sample != untold.suggest().sample
