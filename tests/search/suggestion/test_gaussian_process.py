"""The Gaussian process: its belief before the first trial, what it learns, and what it suggests."""

import math

import numpy as np
import pytest

from search.record.trials import State
from search.space.configs import default_sample
from search.space.named import CORE, WIDE
from search.suggestion.gaussian_process import Prior, condition, expected_improvement
from search.suggestion.unit_cube import UnitCube
from tests.support.fakes import learning_curve
from tests.support.searching import FULL, MAX_EPOCHS, in_space, make_searcher, samples_of, search, train

CENTRE = np.array([0.5, 0.5])


def test_belief_is_a_bowl_around_the_default_by_hand():
    prior = Prior(level=0.7, depth=0.04, width=0.25)
    points = np.array([[0.5, 0.5], [0.75, 0.5], [1.0, 0.75]])
    one_width, two_widths = (2 * (1 - math.exp(-(distance**2) / 4)) for distance in (1, 2))
    assert prior.mean(points, CENTRE) == pytest.approx(
        [0.7, 0.7 - 0.04 * one_width, 0.7 - 0.04 * (two_widths + one_width)]
    )
    assert prior.variance(points, CENTRE) == pytest.approx(np.diag(prior.covariance(points, points, CENTRE)))


def test_posterior_of_one_observation_by_hand():
    prior = Prior(level=0.6, level_deviation=0.1, depth=0.0, depth_deviation=0.0, amplitude=0.0, noise=0.1)
    posterior = condition(prior, CENTRE, CENTRE[None], np.array([0.8]), np.array([0.1]))
    mean, deviation = posterior.predict(np.array([[0.1, 0.9]]))
    assert mean == pytest.approx([0.7], abs=1e-4)  # halfway: belief and observation are equally sure
    assert deviation == pytest.approx([0.1 / math.sqrt(2)], abs=1e-4)


def test_posterior_passes_near_what_it_has_seen_and_is_less_sure_far_away():
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(12, 2))
    dices = 0.7 - 0.2 * ((points - 0.8) ** 2).sum(1)  # the best is not the default
    posterior = condition(Prior(), CENTRE, points, dices, np.full(12, 0.005))
    mean, deviation = posterior.predict(points)
    assert mean == pytest.approx(dices, abs=0.01)
    corner, sure = posterior.predict(np.array([[0.8, 0.8]])), posterior.predict(CENTRE[None])
    assert corner[0] > sure[0]
    assert deviation.max() < posterior.predict(np.array([[0.0, 1.0]]))[1].max() + 1e-3


def test_running_trials_count_as_if_they_reached_what_is_expected_of_them():
    rng = np.random.default_rng(0)
    points, running, elsewhere = (rng.uniform(size=(count, 2)) for count in (8, 3, 20))
    dices, noise = 0.7 + 0.1 * rng.normal(size=8), np.full(8, 0.05)
    believed = condition(Prior(), CENTRE, points, dices, noise).mean(running)
    found = condition(Prior(), CENTRE, points, dices, noise, running=running)
    expected = condition(
        Prior(),
        CENTRE,
        np.concatenate([points, running]),
        np.concatenate([dices, believed]),
        np.concatenate([noise, np.full(3, Prior().noise)]),
    )
    assert np.stack(found.predict(elsewhere)) == pytest.approx(np.stack(expected.predict(elsewhere)))
    assert found.predict(elsewhere)[0] == pytest.approx(found.mean(elsewhere))


@pytest.mark.parametrize(
    ("mean", "deviation", "expected"),
    [(0.5, 0.1, 0.1 / math.sqrt(2 * math.pi)), (0.9, 1e-6, 0.4), (0.1, 1e-6, 0.0)],
)
def test_expected_improvement_by_hand(mean, deviation, expected):
    found = expected_improvement(np.array([mean]), np.array([deviation]), above=0.5)
    assert found == pytest.approx([expected], abs=1e-9)


@pytest.mark.parametrize("space", [CORE, WIDE], ids=["core", "wide"])
def test_suggestions_lie_in_the_space_and_differ(space):
    searcher = make_searcher("prior_gp", space=space, first=[default_sample(space)])
    samples = samples_of(search(searcher, 8, (State.COMPLETE, State.PRUNED)))
    assert all(in_space(sample, space) for sample in samples)
    assert len({str(sample) for sample in samples}) == 8


def test_trials_that_run_side_by_side_differ():
    searcher = make_searcher("prior_gp", first=[FULL])
    train(searcher)
    places = UnitCube(CORE).encode(*(searcher.suggest().sample for _ in range(4)))
    gaps = [np.abs(a - b).max() for i, a in enumerate(places) for b in places[:i]]
    assert min(gaps) > 0.02


@pytest.mark.parametrize("state", [None, State.PRUNED], ids=["running", "pruned"])
def test_many_lanes_begin_near_the_default(state):
    """No trial has reached its end, and most have no Dice yet."""
    searcher = make_searcher("prior_gp", first=[default_sample(CORE)])
    train(searcher, state, num_epochs=int(state is not None))
    centre, *places = UnitCube(CORE).encode(default_sample(CORE), *(searcher.suggest().sample for _ in range(15)))
    distances = np.abs(np.array(places) - centre)
    assert 0.02 < np.median(distances.max(1)) < 0.4  # of random configurations, 0.55


def test_configurations_that_fail_are_avoided():
    """As on a GPU that is too small for the deepest networks."""
    searcher = make_searcher("prior_gp", first=[default_sample(CORE)], num_trials=20)
    suggested = []
    for _ in range(20):
        suggested.append(searcher.suggest())
        if suggested[-1].sample["depth"] <= 4:
            searcher.report(suggested[-1].number, MAX_EPOCHS, learning_curve(suggested[-1].sample, MAX_EPOCHS))
            searcher.end(suggested[-1].number, State.COMPLETE)
        else:
            searcher.end(suggested[-1].number, State.FAILED)
    assert sum(one.sample["depth"] == 5 for one in suggested[10:]) <= 2


def test_search_looks_elsewhere_if_the_default_fails():
    searcher = make_searcher("prior_gp", first=[default_sample(CORE)])
    train(searcher, State.FAILED, num_epochs=0)
    centre, *places = UnitCube(CORE).encode(default_sample(CORE), *(searcher.suggest().sample for _ in range(15)))
    assert np.median(np.abs(np.array(places) - centre).max(1)) > 0.4


@pytest.mark.slow
def test_twelve_trials_find_more_than_twelve_random_ones():
    def best(sampler: str, seed: int) -> float:
        searcher = make_searcher(sampler, seed=seed, first=[default_sample(CORE)])
        for _ in range(12):
            train(searcher)
        return max(max(values.values()) for values in searcher._reported.values())

    ours, chance = (np.mean([best(sampler, seed) for seed in range(6)]) for sampler in ("prior_gp", "random"))
    assert ours > chance + 0.005


def test_an_early_end_counts_less_than_a_whole_training():
    """A short trial that looks as good as a long one promises more, because later epochs add to it."""
    assert MAX_EPOCHS == 9
    short, whole = make_searcher("prior_gp", first=[FULL]), make_searcher("prior_gp", first=[FULL])
    train(short, State.PRUNED, num_epochs=1)
    train(whole)
    assert short.suggest().sample != whole.suggest().sample
