"""The searcher, driven by hand on a learning curve in closed form: what it suggests, and what the study says."""

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search.record.trials import State
from search.space import CORE, WIDE, Space
from search.suggestion import study_view
from search.suggestion.samplers import SAMPLERS
from search.suggestion.searcher import Observation, OptunaSearcher, Suggestion
from tests.support.fakes import learning_curve

# Optuna calls two samplers and an argument of theirs experimental, once for every one that is made.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

MAX_EPOCHS = 9
FULL = {"learning_rate": 0.002, "depth": 4, "dropout": 0.1, "bce_weight": 0.4}
MIXED = (State.COMPLETE, State.PRUNED, None, State.FAILED)
"""How trials end, again and again; None: they do not."""


def make_searcher(
    sampler: str = "tpe", *, space: Space = CORE, seed: int = 0, num_trials: int = 12, **options: Any
) -> OptunaSearcher:
    return OptunaSearcher(space, max_epochs=MAX_EPOCHS, sampler=sampler, seed=seed, num_trials=num_trials, **options)


def train(
    searcher: OptunaSearcher, state: State | None = State.COMPLETE, *, num_epochs: int = MAX_EPOCHS
) -> Suggestion:
    """Return the next suggestion, which was trained and ended so."""
    suggestion = searcher.suggest()
    for epoch in range(1, num_epochs + 1):
        searcher.report(suggestion.number, epoch, learning_curve(suggestion.sample, epoch))
    if state is not None:
        searcher.end(suggestion.number, state)
    return suggestion


def search(searcher: OptunaSearcher, num_trials: int, states: tuple[State | None, ...] = MIXED) -> list[Suggestion]:
    """Return the next suggestions; a trial's epochs and its end follow from its number."""
    suggestions = []
    for number in range(searcher.num_suggested, searcher.num_suggested + num_trials):
        state = states[number % len(states)]
        num_epochs = {State.COMPLETE: MAX_EPOCHS, State.FAILED: number % 2}.get(state, 1 + number % 5)
        suggestions.append(train(searcher, state, num_epochs=num_epochs))
    return suggestions


def observed(suggestion: Suggestion, states: tuple[State | None, ...] = MIXED) -> Observation:
    """Return what `search` made of a suggestion, as it comes back from the log."""
    state = states[suggestion.number % len(states)]
    num_epochs = {State.COMPLETE: MAX_EPOCHS, State.FAILED: suggestion.number % 2}.get(state, 1 + suggestion.number % 5)
    sample, attrs = json.loads(json.dumps([suggestion.sample, suggestion.attrs]))
    values = {epoch: learning_curve(sample, epoch) for epoch in range(1, num_epochs + 1)}
    return Observation(sample=sample, values=values, state=state, attrs=attrs)


def samples_of(suggestions: list[Suggestion]) -> list[dict[str, Any]]:
    return [suggestion.sample for suggestion in suggestions]


def in_space(sample: dict[str, Any], space: Space) -> bool:
    return sample.keys() == space.keys() and all(
        value in getattr(space[name], "choices", [value])
        and getattr(space[name], "low", value) <= value <= getattr(space[name], "high", value)
        and isinstance(value, int if isinstance(space[name], IntDistribution) else (int, float, str))
        for name, value in sample.items()
    )


def study_of(journal: Path, name: str = "search") -> optuna.Study:
    """Return the study as anybody would open it."""
    return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(journal))))


@pytest.mark.parametrize("space", [CORE, WIDE], ids=["core", "wide"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_searcher_suggests_every_axis_within_its_bounds(sampler, space):
    suggested = samples_of(search(make_searcher(sampler, space=space), 7, (State.COMPLETE,)))
    assert all(in_space(sample, space) for sample in suggested)
    assert len({json.dumps(sample) for sample in suggested}) == 7


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_searcher_with_one_seed_repeats_and_with_another_does_not(sampler):
    one, same, other = (
        samples_of(search(make_searcher(sampler, seed=seed), 5, (State.COMPLETE,))) for seed in (0, 0, 1)
    )
    assert one == same
    assert all(a != b for a, b in zip(one, other, strict=True))


def test_searcher_numbers_its_suggestions():
    searcher = make_searcher()
    assert [searcher.suggest().number for _ in range(3)] == [0, 1, 2]
    assert searcher.num_suggested == 3


# Enough trials that each sampler models what it was told: nine of one epoch for gp, generations of eight for cmaes.
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
    """Else the test above would compare chance with chance."""
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


def test_searcher_restores_a_running_trial_that_can_be_reported_and_ended(tmp_path):
    searcher = make_searcher(study=tmp_path / "journal.log")
    searcher.restore(0, Observation(sample=FULL, values={1: 0.25, 2: 0.5}, state=None, attrs={}))
    searcher.report(0, 2, 0.75)  # done again
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


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"grid"}))  # a config refuses it
def test_searcher_completes_a_first_sample_that_is_partial(sampler):
    searcher = make_searcher(sampler, first=[{"learning_rate": 0.002}, {"depth": 5, "dropout": 0.25}])
    suggested = samples_of(search(searcher, 2))
    assert all(in_space(sample, CORE) for sample in suggested)
    assert suggested[0]["learning_rate"] == 0.002
    assert (suggested[1]["depth"], suggested[1]["dropout"]) == (5, 0.25)


def earlier_trials(num_trials: int) -> list[Observation]:
    suggestions = search(make_searcher("random", seed=1), num_trials, (State.COMPLETE,))
    return [observed(suggestion, (State.COMPLETE,)) for suggestion in suggestions]


def test_searcher_learns_from_earlier_trials():
    def first_value(seed: int, earlier: list[Observation]) -> float:
        return learning_curve(make_searcher(seed=seed, earlier=earlier).suggest().sample, MAX_EPOCHS)

    told, untold = ([first_value(seed, earlier) for seed in range(12)] for earlier in (earlier_trials(40), []))
    assert statistics.mean(told) > statistics.mean(untold) + 0.03
    assert statistics.stdev(told) > 0  # it suggests, and does not repeat


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
        (TrialState.COMPLETE, 0.75, {1: 0.5, 2: 0.75, 3: 0.625}),  # its best epoch's value
        (TrialState.PRUNED, 0.25, {1: 0.5, 2: 0.25}),
        (TrialState.FAIL, None, {1: 0.5}),
        (TrialState.FAIL, None, {}),
        (TrialState.PRUNED, None, {}),
        (TrialState.RUNNING, None, {1: 0.125}),
    ]
    assert all(in_space(trial.params, CORE) and trial.distributions == CORE for trial in study.trials)
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
        # Optuna gives a pruned trial its last epoch's value when it is told, and none when it is added.
        value = other.intermediate_values[other.last_step] if other.state == TrialState.PRUNED else other.value
        assert (other.number, other.state, value) == (one.number, one.state, one.value)
        assert (other.params, other.intermediate_values) == (one.params, one.intermediate_values)
        assert other.system_attrs == one.system_attrs
    whole, again = (study._storage.get_study_system_attrs(study._study_id) for study in (whole, again))
    assert again == whole


def test_study_counts_an_epoch_that_is_done_again_once(tmp_path):
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


def test_sampler_sees_a_trial_that_waits_as_pruned_and_the_study_does_not(tmp_path):
    searcher = make_searcher("grid", study=tmp_path / "journal.log")  # which remembers something of each trial
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


ONE_AXIS = {"dropout": FloatDistribution(0.0, 0.5)}


def train_by_hand(searcher: OptunaSearcher, values: list[float], state: State | None) -> None:
    number = searcher.suggest().number
    for epoch, value in enumerate(values, start=1):
        searcher.report(number, epoch, value)
    if state is not None:
        searcher.end(number, state)


def seen_by(searcher: OptunaSearcher, *states: TrialState) -> list[tuple[int, TrialState, float | None]]:
    trials = searcher._study._get_trials(deepcopy=False, states=states or None)
    return [(trial.number, trial.state, trial.values and trial.value) for trial in trials]


def test_gp_sees_nothing_before_enough_trials_reached_an_epoch(tmp_path):
    searcher = make_searcher("gp", space=ONE_AXIS, study=tmp_path / "journal.log")
    for values, state in (([0.5, 0.7], State.COMPLETE), ([0.25], None), ([], State.FAILED), ([], None)):
        train_by_hand(searcher, values, state)
    assert seen_by(searcher) == [(2, TrialState.FAIL, None), (3, TrialState.RUNNING, None)]  # two are no model
    train_by_hand(searcher, [0.125], State.PRUNED)
    assert seen_by(searcher, TrialState.COMPLETE) == [
        (number, TrialState.COMPLETE, value) for number, value in ((0, 0.5), (1, 0.25), (4, 0.125))
    ]
    assert seen_by(searcher, TrialState.RUNNING) == [(3, TrialState.RUNNING, None)]
    states = [trial.state for trial in study_of(tmp_path / "journal.log").trials]  # which says how it was
    assert states == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.FAIL, TrialState.RUNNING, TrialState.PRUNED]


def test_gp_sees_trials_as_they_were_after_the_last_epoch_that_enough_reached():
    searcher = make_searcher("gp", space=ONE_AXIS)
    for values, state in (
        ([0.1, 0.2, 0.3], State.COMPLETE),
        ([0.9], State.PRUNED),
        ([0.4, 0.5], None),
        ([0.8, 0.7, 0.6], State.COMPLETE),  # whose best epoch was another
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
    assert len(values) == 10  # the one that waits has not come to the last epoch
    curves = [observation.values[MAX_EPOCHS] for observation in earlier_trials(9)]
    assert values[:9] == curves


def test_sampler_sees_of_many_trials_the_longest_best_and_newest(monkeypatch):
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


def test_searcher_learns_from_trials_that_wait():
    told, untold = make_searcher(), make_searcher()
    for _ in range(4):
        train(told, None, num_epochs=2)
        train(untold, None, num_epochs=0)
    assert told.suggest().sample != untold.suggest().sample


def test_grid_tries_every_place_once():
    space = {"depth": IntDistribution(2, 5), "dropout": FloatDistribution(0.0, 0.75)}
    searcher = make_searcher("grid", space=space, num_trials=16)
    suggested = [searcher.suggest().sample for _ in range(16)]
    assert sorted((sample["depth"], sample["dropout"]) for sample in suggested) == [
        (depth, dropout) for depth in (2, 3, 4, 5) for dropout in (0.0, 0.25, 0.5, 0.75)
    ]


def test_grid_that_is_used_up_goes_on():
    searcher = make_searcher("grid", space={"depth": IntDistribution(2, 3)})
    tried = []
    for number in range(5):
        tried.append(searcher.suggest().sample["depth"])
        searcher.report(number, 1, 0.5)
        searcher.end(number, State.COMPLETE)
    assert sorted(tried[:2]) == [2, 3]
    assert set(tried) == {2, 3}


def test_search_beats_chance():
    def best(sampler: str, seed: int) -> float:
        suggested = samples_of(search(make_searcher(sampler, seed=seed, num_trials=30), 30, (State.COMPLETE,)))
        return max(learning_curve(sample, MAX_EPOCHS) for sample in suggested)

    searched, chance = ([best(sampler, seed) for seed in range(6)] for sampler in ("tpe", "random"))
    assert statistics.mean(searched) > statistics.mean(chance) + 0.005
    assert min(searched) > 0.87  # of 0.89


TWO = ("val_dice", "latency_ms")
SEVERAL = sorted(name for name, kind in SAMPLERS.items() if not kind.one_objective)


def latency(sample: dict[str, Any]) -> float:
    """Return what a network costs, in conflict with a Dice that is best at depth 4."""
    return float(sample["depth"] ** 2)


def train_for_two(searcher: OptunaSearcher, num_trials: int, cost=latency, states=MIXED) -> list[Suggestion]:
    """Return the next suggestions of a search for Dice and latency, trained as `search` does."""
    suggestions = []
    for number in range(searcher.num_suggested, searcher.num_suggested + num_trials):
        suggestion, state = searcher.suggest(), states[number % len(states)]
        for epoch, dice in observed(suggestion, states).values.items():
            searcher.report(number, epoch, dice, costs={"latency_ms": cost(suggestion.sample)})
        if state is not None:
            searcher.end(number, state)
        suggestions.append(suggestion)
    return suggestions


def observed_for_two(suggestion: Suggestion) -> Observation:
    one = observed(suggestion)
    return replace(one, costs={"latency_ms": latency(one.sample)} if one.values else {})


@pytest.mark.parametrize("sampler", SEVERAL)
def test_searcher_for_two_objectives_suggests_in_the_space_whatever_becomes_of_trials(sampler):
    suggested = samples_of(train_for_two(make_searcher(sampler, objectives=TWO), 13))
    assert all(in_space(sample, CORE) for sample in suggested)


@pytest.mark.parametrize("sampler", sorted(set(SEVERAL) - {"gp"}))
def test_searcher_for_two_objectives_does_not_repeat_itself(sampler):
    suggested = samples_of(train_for_two(make_searcher(sampler, objectives=TWO), 13))
    assert len({json.dumps(sample) for sample in suggested}) == 13


def test_study_of_two_objectives_says_how_every_trial_ended(tmp_path):
    searcher = make_searcher("random", study=tmp_path / "journal.log", objectives=TWO)
    for values, state in (
        ({1: 0.5, 2: 0.75, 3: 0.625}, State.COMPLETE),
        ({1: 0.5, 2: 0.25}, State.PRUNED),
        ({1: 0.5}, State.FAILED),
        ({}, State.FAILED),
        ({1: 0.125}, None),
    ):
        number = searcher.suggest().number
        for epoch, value in values.items():
            searcher.report(number, epoch, value, costs={"latency_ms": 8.0 - number})
        if state:
            searcher.end(number, state)
    study = study_of(tmp_path / "journal.log")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == list(TWO)
    assert [(trial.state, trial.values, trial.intermediate_values, trial.user_attrs) for trial in study.trials] == [
        (TrialState.COMPLETE, [0.75, 8.0], {1: 0.5, 2: 0.75, 3: 0.625}, {"latency_ms": 8.0}),
        (TrialState.PRUNED, None, {1: 0.5, 2: 0.25}, {"latency_ms": 7.0}),
        (TrialState.FAIL, None, {1: 0.5}, {"latency_ms": 6.0}),
        (TrialState.FAIL, None, {}, {}),
        (TrialState.RUNNING, None, {1: 0.125}, {"latency_ms": 4.0}),
    ]
    assert [trial.number for trial in study.best_trials] == [0]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_sampler_for_two_objectives_sees_both_after_the_last_epoch_that_enough_reached(sampler):
    searcher = make_searcher(sampler, space=ONE_AXIS, objectives=TWO)
    curves = (
        ([0.1, 0.2, 0.3], State.COMPLETE),
        ([0.9], State.PRUNED),
        ([0.4, 0.5], None),
        ([0.8, 0.7], State.FAILED),
        ([], None),
    )
    for number, (values, state) in enumerate(curves):
        searcher.suggest()
        for epoch, value in enumerate(values, start=1):
            searcher.report(number, epoch, value, costs={"latency_ms": 10.0 + number})
        if state:
            searcher.end(number, state)
    seen = searcher._study.get_trials(deepcopy=False)
    assert [(trial.number, trial.state, trial.values) for trial in seen] == [
        (0, TrialState.COMPLETE, [0.2, 10.0]),
        (2, TrialState.COMPLETE, [0.5, 12.0]),
        (3, TrialState.COMPLETE, [0.7, 13.0]),
        (4, TrialState.RUNNING, None),
    ]


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_searcher_for_two_objectives_learns_from_the_second(sampler):
    def suggested(cost) -> list[dict[str, Any]]:
        return samples_of(train_for_two(make_searcher(sampler, objectives=TWO), 10, cost, states=(None,)))

    deep_is_slow, deep_is_fast = suggested(latency), suggested(lambda sample: 30.0 - latency(sample))
    assert deep_is_slow[:9] == deep_is_fast[:9]  # too few for a model
    assert deep_is_slow[9:] != deep_is_fast[9:]


@pytest.mark.parametrize(
    ("sampler", "cut"),
    [("tpe", 2), ("tpe", 16), ("tpe", 21), ("gp", 9), ("random", 16), ("qmc", 16), ("grid", 16)],
)
def test_searcher_for_two_objectives_suggests_the_same_after_a_restart(sampler, cut):
    searcher = make_searcher(sampler, objectives=TWO)
    before, expected = train_for_two(searcher, cut), samples_of(train_for_two(searcher, 2))
    restored = make_searcher(sampler, objectives=TWO)
    for suggestion in before:
        restored.restore(suggestion.number, observed_for_two(suggestion))
    assert samples_of(train_for_two(restored, 2)) == expected


def test_searcher_for_two_objectives_restores_a_running_trial_that_can_be_ended(tmp_path):
    searcher = make_searcher(study=tmp_path / "journal.log", objectives=TWO)
    values, costs = {1: 0.25, 2: 0.5}, {"latency_ms": 4.0}
    searcher.restore(0, Observation(sample=FULL, values=values, costs=costs, state=None, attrs={}))
    searcher.report(0, 3, 0.375, costs={"latency_ms": 5.0})  # of another machine
    searcher.end(0, State.COMPLETE)
    assert study_of(tmp_path / "journal.log").trials[0].values == [0.5, 4.0]


def test_searcher_for_two_objectives_learns_from_earlier_trials():
    def first(earlier: list[Observation]) -> dict[str, Any]:
        return make_searcher(objectives=TWO, earlier=earlier).suggest().sample

    known = earlier_trials(12)
    slow, fast = ([replace(one, costs={"latency_ms": sign * latency(one.sample)}) for one in known] for sign in (1, -1))
    assert first(slow) != first([])
    assert first(slow) != first(fast)
