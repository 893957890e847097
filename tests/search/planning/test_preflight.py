"""The largest and the smallest networks of a space, tried where lanes will train, before anything is searched."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from data.loaders import num_train_batches
from data.preprocess import Preprocessing
from model.networks import NETWORKS, Architecture
from model.training.first_step import FirstStep
from search.cluster.capacity.lane_plan import LanePlan
from search.config import SearchConfig
from search.planning import preflight
from search.planning.preflight import Fit, check_networks, enough_patients
from search.space.configs import without_largest
from search.space.space import Space
from tests.support.fakes import small_cohort, small_pack
from tests.support.own_network import NAME
from tests.support.plain_network import Broken, PlainConfig

AXES = {"width": CategoricalDistribution([2, 4, 128]), "depth": IntDistribution(1, 2)}
PACK = small_pack([True, False] * 4, size=32)
COHORT = replace(small_cohort(), train_pack=PACK, val_pack=PACK)
LANES = LanePlan(num_lanes=1, num_workers=1, cpus_per_worker=1, gpus_per_worker=0.0)


@pytest.mark.parametrize(
    ("tumour", "batch_size", "expected"),
    [
        ([0, 0, 1, 0, 1, 1], 1, {"P2"}),
        ([0, 0, 1, 0, 1, 1], 2, {"P2"}),
        ([0, 0, 1, 0, 1, 1], 3, {"P1", "P2"}),
        ([0, 0, 1, 0, 1, 1], 4, {"P0", "P1", "P2"}),
        ([0, 0, 0, 0, 0, 0], 1, {"P0", "P1", "P2"}),
    ],
)
def test_a_first_step_has_patients_that_fill_its_batch(tumour, batch_size, expected):
    pack = small_pack([bool(one) for one in tumour], num_patients=3)
    few = enough_patients(pack, batch_size)
    assert {*few.patient_ids} == expected
    assert num_train_batches(few, batch_size=batch_size) >= min(1, num_train_batches(pack, batch_size=batch_size))


def test_without_largest_leaves_out_the_largest_multiple_of_the_next():
    space, found = Space({**AXES, "norm": CategoricalDistribution(["batch", "instance"])}), []
    while smaller := without_largest(space):
        space = smaller[0]
        found.append(smaller[1])
    assert found == ["width 128", "width 4", "depth 2"]
    assert {**space} == {"norm": CategoricalDistribution(["batch", "instance"])}
    assert space.constants == {"width": 2, "depth": 1}


def test_without_largest_leaves_out_what_had_an_effect_beside_it_alone():
    conditions = {"dropout": {"depth": (2,)}, "norm": {"depth": (1,)}}
    axes = {
        "depth": IntDistribution(1, 2),
        "dropout": FloatDistribution(0, 0.5),
        "norm": CategoricalDistribution(["batch", "group"]),
    }
    found = without_largest(Space(axes, conditions=conditions))
    assert found
    assert found[0] == Space({"norm": axes["norm"]}, constants={"depth": 1})


def test_without_largest_leaves_out_only_what_takes_memory():
    free = {"patience": IntDistribution(0, 9), "downscale": CategoricalDistribution([1, 4])}
    assert without_largest(Space(free)) is None


class Here:
    """Runs tasks in this process; tests of whole searches run them on Ray."""

    num_threads = 1

    def __init__(self, lanes: LanePlan) -> None: ...

    def share(self, value: Any) -> Any:
        return value

    def run(self, function: Callable, *arguments: Any, ends: bool) -> Any:
        assert ends
        return function(*arguments)


@pytest.fixture(autouse=True)
def here(monkeypatch) -> None:
    monkeypatch.setattr(preflight, "TaskRunner", Here)
    monkeypatch.setattr(preflight, "node_resources", lambda: [{"CPU": 2.0, "memory": 4e9}])


def config(**changes: Any) -> SearchConfig:
    return SearchConfig(space=AXES, batch_size=8, preprocessing=Preprocessing(size=32), **changes)


def test_space_whose_networks_fit_stays_as_it_is():
    checked, fit = check_networks(config(ranges=("width=2,4",)), COHORT, LANES)
    assert checked == config(ranges=("width=2,4",))
    assert 0 < fit.peak_mb < fit.limit_mb == 4e9 / 2**20
    assert str(fit) == f"at most {fit.peak_mb:,.0f} MB of 3,815 MB for a worker, measured with the largest network"


class Costly(Here):
    """Says that a network needs ten MB for each of its features, without a step."""

    def run(self, function: Callable, *arguments: Any, ends: bool) -> list[FirstStep]:
        configs, limit_mb = arguments[0], arguments[-1]
        needed = [10.0 * network.width for network, _ in configs]
        return [FirstStep(peak_mb=one, out_of_memory="too large" if one > limit_mb else None) for one in needed]


def test_what_does_not_fit_is_left_out_and_said(monkeypatch, capsys):
    monkeypatch.setattr(preflight, "TaskRunner", Costly)
    monkeypatch.setattr(preflight, "_limit_mb", lambda lanes: 100.0)
    checked, fit = check_networks(config(), COHORT, LANES)
    assert checked.search_space["width"] == CategoricalDistribution([2, 4])
    assert fit == Fit(peak_mb=40, limit_mb=100)
    assert capsys.readouterr().out == (
        "width 128 is left out: the largest network does not fit into the 100 MB that a worker has (too large).\n"
    )


def test_network_that_never_fits_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr(preflight, "TaskRunner", Costly)
    monkeypatch.setattr(preflight, "_limit_mb", lambda lanes: 19.0)
    with pytest.raises(UserError, match=r"not even the smallest network fits into the 19 MB .* give a smaller --size"):
        check_networks(config(), COHORT, LANES)


def test_network_that_cannot_be_trained_is_named(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", Architecture(config=PlainConfig, network=Broken, title="Broken"))
    monkeypatch.setattr(preflight, "rehearse", lambda network, settings: None)
    with pytest.raises(UserError, match="plain with kernel 1 cannot be trained: ValueError: no"):
        check_networks(SearchConfig(space={"kernel": IntDistribution(1, 3)}, network="plain"), COHORT, LANES)


def test_networks_of_other_origin_are_exported_before_the_search(monkeypatch):
    rehearsed = []
    monkeypatch.setattr(preflight, "rehearse", lambda network, settings: rehearsed.append((network, settings)))
    own = {"architecture": CategoricalDistribution(["unet", NAME]), "kind": CategoricalDistribution(["relu", "tanh"])}
    check_networks(SearchConfig(space=own, preprocessing=Preprocessing(size=32)), COHORT, LANES)
    [(network, settings)] = rehearsed
    assert (network.architecture, settings.preprocessing.size) == (NAME, 32)
