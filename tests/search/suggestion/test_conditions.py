"""Axes that have an effect in some trials only: they are suggested, modelled and restored only there."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from data.errors import UserError
from search.config import SearchConfig
from search.record.trials import Sample
from search.space.configs import complete_default
from search.space.named import CORE
from search.space.space import Space
from search.suggestion.samplers import SAMPLERS
from search.suggestion.unit_cube import UnitCube
from tests.support.searching import in_space, make_searcher, observed, samples_of, search, study_of

SPACE = Space(
    {
        **CORE.axes,
        "optimizer": CategoricalDistribution(["adamw", "sgd"]),
        "momentum": FloatDistribution(0.5, 0.99),
        "norm": CategoricalDistribution(["instance", "batch"]),
    },
    conditions={"momentum": {"optimizer": ("sgd",)}, "norm": {"depth": (2, 3)}},
)
WITH_CONDITIONS = [name for name, kind in SAMPLERS.items() if not kind.all_axes]

# Optuna warns that some samplers are experimental whenever one is made.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def has_what_has_an_effect(sample: Sample) -> bool:
    wanted = [name for name in SPACE if SPACE.is_active(name, sample)]
    return in_space(sample, Space({name: SPACE[name] for name in wanted}))


@pytest.mark.parametrize("sampler", WITH_CONDITIONS)
def test_sample_has_what_has_an_effect_and_nothing_else(tmp_path, sampler):
    suggestions = search(make_searcher(sampler, space=SPACE, study=tmp_path / "journal.log"), 16)
    samples = samples_of(suggestions)
    assert all(map(has_what_has_an_effect, samples))
    if sampler != "prior_gp":  # which expects the best near the default, where momentum has no effect
        assert {"momentum" in sample for sample in samples} == {True, False}
    assert [trial.params for trial in study_of(tmp_path / "journal.log").trials] == samples


@pytest.mark.parametrize("sampler", WITH_CONDITIONS)
def test_search_that_is_restored_suggests_the_same(sampler):
    whole = search(make_searcher(sampler, space=SPACE), 14)
    restored = make_searcher(sampler, space=SPACE)
    for suggestion in whole[:9]:
        restored.restore(suggestion.number, observed(suggestion))
    assert samples_of(search(restored, 5)) == samples_of(whole[9:])


def test_first_sample_leaves_out_what_has_no_effect():
    first = [{"optimizer": "sgd"}, {"optimizer": "adamw", "depth": 5}]
    one, other = samples_of(search(make_searcher(space=SPACE, first=first), 2))
    assert "momentum" in one
    assert set(other) == {*CORE, "optimizer"}


def test_point_does_not_depend_on_what_has_no_effect():
    cube = UnitCube(SPACE, otherwise=complete_default(SPACE))
    sample = {"learning_rate": 1e-3, "depth": 4, "dropout": 0.1, "bce_weight": 0.5, "optimizer": "adamw"}
    points = cube.encode(
        sample, sample | {"momentum": 0.6, "norm": "batch"}, sample | {"optimizer": "sgd", "momentum": 0.6}
    )
    assert np.array_equal(points[0], points[1])
    assert not np.array_equal(points[0], points[2])


def test_grid_refuses_axes_that_depend_on_others():
    axes = {"optimizer": CategoricalDistribution(["adamw", "sgd"]), "momentum": FloatDistribution(0.5, 0.99)}
    with pytest.raises(UserError, match=r"needs axes that have an effect in every trial, but these .*: momentum\."):
        SearchConfig(space=axes, searcher="grid")
