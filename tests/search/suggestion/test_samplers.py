"""What holds for each sampler of the table."""

import json
import statistics

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import NSGAIISampler, RandomSampler

from data.errors import UserError
from search.config import SearchConfig
from search.record.trials import State
from search.space.named import CORE, WIDE
from search.space.space import Space
from search.suggestion.samplers import SAMPLERS, SamplerKind
from tests.support.fakes import learning_curve
from tests.support.searching import MAX_EPOCHS, in_space, make_searcher, samples_of, search

# Optuna warns that two samplers are experimental whenever one is made.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.mark.parametrize("space", [CORE, WIDE], ids=["core", "wide"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_searcher_suggests_every_axis_within_its_bounds(sampler, space):
    suggested = samples_of(search(make_searcher(sampler, space=space), 7, (State.COMPLETE,)))
    assert all(in_space(sample, space) for sample in suggested)
    assert len({json.dumps(sample) for sample in suggested}) == 7


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_searcher_repeats_with_its_seed_and_not_with_another(sampler):
    one, same, other = (
        samples_of(search(make_searcher(sampler, seed=seed), 5, (State.COMPLETE,))) for seed in (0, 0, 1)
    )
    assert one == same
    assert all(a != b for a, b in zip(one, other, strict=True))


def test_grid_tries_every_point_once():
    space = Space({"depth": IntDistribution(2, 5), "dropout": FloatDistribution(0.0, 0.75)})
    searcher = make_searcher("grid", space=space, num_trials=16)
    suggested = [searcher.suggest().sample for _ in range(16)]
    assert sorted((sample["depth"], sample["dropout"]) for sample in suggested) == [
        (depth, dropout) for depth in (2, 3, 4, 5) for dropout in (0.0, 0.25, 0.5, 0.75)
    ]


def test_grid_tries_every_point_once_after_the_samples_that_it_is_given():
    given = {"depth": 3, "dropout": 0.1}
    space = Space({"depth": IntDistribution(2, 5), "dropout": FloatDistribution(0.0, 0.75)})
    searcher = make_searcher("grid", space=space, first=[given])
    first, *others = [searcher.suggest().sample for _ in range(17)]
    assert first == given
    assert len({json.dumps(sample) for sample in others}) == 16
    assert {sample["dropout"] for sample in others} == {0.0, 0.25, 0.5, 0.75}


def test_grid_that_is_used_up_repeats_its_points():
    searcher = make_searcher("grid", space=Space({"depth": IntDistribution(2, 3)}))
    tried = []
    for number in range(5):
        tried.append(searcher.suggest().sample["depth"])
        searcher.report(number, 1, 0.5)
        searcher.end(number, State.COMPLETE)
    assert sorted(tried[:2]) == [2, 3]
    assert set(tried) == {2, 3}


def test_tpe_beats_random_search():
    def best(sampler: str, seed: int) -> float:
        suggested = samples_of(search(make_searcher(sampler, seed=seed, num_trials=30), 30, (State.COMPLETE,)))
        return max(learning_curve(sample, MAX_EPOCHS) for sample in suggested)

    searched, chance = ([best(sampler, seed) for seed in range(6)] for sampler in ("tpe", "random"))
    assert statistics.mean(searched) > statistics.mean(chance) + 0.005
    assert min(searched) > 0.87  # of 0.89


def test_new_sampler_is_one_function_and_one_row(monkeypatch):
    kind = SamplerKind(make=lambda request: RandomSampler(seed=request.seed), description="a toy", one_objective=True)
    monkeypatch.setitem(SAMPLERS, "toy", kind)
    assert SearchConfig(searcher="toy").searcher == "toy"
    suggested = samples_of(search(make_searcher("toy"), 3))
    assert all(in_space(sample, CORE) for sample in suggested)
    with pytest.raises(UserError, match="searcher is 'toy', which takes one objective only"):
        SearchConfig(searcher="toy", objective=("val_dice", "latency_ms"))
    with pytest.raises(UserError, match=f"must be one of {', '.join(SAMPLERS)}$"):
        SearchConfig(searcher="toyota")


def test_evolutionary_sampler_of_complete_trials_has_generations(monkeypatch):
    kind = SamplerKind(
        make=lambda request: NSGAIISampler(population_size=4, seed=request.seed),
        description="a toy",
        complete_only=True,
    )
    monkeypatch.setitem(SAMPLERS, "toy", kind)
    suggested = search(make_searcher("toy"), 20, (State.COMPLETE,))
    generations = [max(one.attrs["trial"].values()) for one in suggested]
    assert generations == sorted(generations)
    assert generations[-1] > 1
