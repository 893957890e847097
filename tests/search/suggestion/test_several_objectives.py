"""A search with several objectives: Dice, and what a network costs."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from search.record.trials import State
from search.space.named import CORE
from search.suggestion.gaussian_process import Prior
from search.suggestion.prior_gp import scalarized_improvement
from search.suggestion.samplers import SAMPLERS
from search.suggestion.searcher import Observation, OptunaSearcher, Suggestion
from tests.support.searching import (
    FULL,
    MIXED,
    ONE_AXIS,
    earlier_trials,
    in_space,
    make_searcher,
    observed,
    samples_of,
    study_of,
)

# Optuna warns that two samplers are experimental whenever one is made.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

TWO = ("val_dice", "latency_ms")


SEVERAL = sorted(name for name, kind in SAMPLERS.items() if not kind.one_objective)


def latency(sample: dict[str, Any]) -> float:
    """Return the latency of a network, which conflicts with Dice, because that is best at depth 4."""
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
def test_searcher_for_two_objectives_suggests_within_the_space(sampler):
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
def test_sampler_for_two_objectives_sees_both_at_one_epoch(sampler):
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
    assert deep_is_slow[:9] == deep_is_fast[:9]  # too few trials for a model
    assert deep_is_slow[9:] != deep_is_fast[9:]


@pytest.mark.parametrize(
    ("sampler", "cut"),
    [
        ("tpe", 2),
        ("tpe", 16),
        ("tpe", 21),
        ("gp", 9),
        ("random", 16),
        ("qmc", 16),
        ("grid", 16),
        ("prior_gp", 1),
        ("prior_gp", 7),
    ],
)
def test_searcher_for_two_objectives_suggests_the_same_after_a_restart(sampler, cut):
    searcher = make_searcher(sampler, objectives=TWO)
    before, expected = train_for_two(searcher, cut), samples_of(train_for_two(searcher, 2))
    restored = make_searcher(sampler, objectives=TWO)
    for suggestion in before:
        restored.restore(suggestion.number, observed_for_two(suggestion))
    assert samples_of(train_for_two(restored, 2)) == expected


def test_improvement_in_a_direction_by_hand():
    seen = np.array([[0.5, 0.0], [0.7, -1.0]])  # the reference point is (0.48, -1.1)
    even = np.array([0.2, 1.0]) / np.array([0.2, 1.0])
    reached = max(min(0.02 / 0.2, 1.1), min(0.22 / 0.2, 0.1))
    found = scalarized_improvement(
        np.array([0.68, 0.68, 0.4]), np.full(3, 1e-9), np.array([[-0.5], [-1.05], [0.0]]), seen=seen, direction=even
    )
    assert found == pytest.approx([min(0.2 / 0.2, 0.6) ** 2 - reached**2, 0.0, 0.0], abs=1e-6)
    unsure = scalarized_improvement(np.array([0.4]), np.array([0.2]), np.array([[0.0]]), seen=seen, direction=even)
    assert unsure[0] > 0.001


@pytest.mark.slow
def test_belief_finds_a_larger_front_than_chance():
    def volume(sampler: str, seed: int, prior: Prior | None = None) -> float:
        searcher = make_searcher(sampler, seed=seed, objectives=TWO, first=[FULL], prior=prior)
        train_for_two(searcher, 14, states=(State.COMPLETE,))
        trials = searcher._study.trials
        return sum(  # over costs of 1 to 30 ms, the best Dice for that cost
            max((one.values[0] for one in trials if one.values[1] <= cost), default=0.0) for cost in range(1, 31)
        )

    ours, chance = ([volume(sampler, seed) for seed in range(4)] for sampler in ("prior_gp", "random"))
    assert all(one > other for one, other in zip(ours, chance, strict=True))
    exact = Prior(noise=0.02, depth_deviation=0.06)  # the closed form has less noise than real trainings
    assert min(volume("prior_gp", seed, exact) for seed in range(4)) > max(chance)


def test_searcher_for_two_objectives_restores_a_running_trial(tmp_path):
    searcher = make_searcher(study=tmp_path / "journal.log", objectives=TWO)
    values, costs = {1: 0.25, 2: 0.5}, {"latency_ms": 4.0}
    searcher.restore(0, Observation(sample=FULL, values=values, costs=costs, state=None, attrs={}))
    searcher.report(0, 3, 0.375, costs={"latency_ms": 5.0})  # measured on another machine
    searcher.end(0, State.COMPLETE)
    assert study_of(tmp_path / "journal.log").trials[0].values == [0.5, 4.0]


def test_searcher_for_two_objectives_learns_from_earlier_trials():
    def first(earlier: list[Observation]) -> dict[str, Any]:
        return make_searcher(objectives=TWO, earlier=earlier).suggest().sample

    known = earlier_trials(12)
    slow, fast = ([replace(one, costs={"latency_ms": sign * latency(one.sample)}) for one in known] for sign in (1, -1))
    assert first(slow) != first([])
    assert first(slow) != first(fast)
