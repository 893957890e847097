"""What a search knows before its first trial: trials of earlier experiments, and samples to try first."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from search.cluster.capacity.lane_plan import LanePlan
from search.config import SearchConfig
from search.experiment import open_experiment
from search.record.codec import to_json
from search.record.epochs import EpochMetrics
from search.record.experiment_record import EarlierTrial, WarmStart, read_experiment
from search.record.files import CONFIG_FILE
from search.record.trials import State, TrialRow, append_row
from search.space.configs import to_configs
from search.space.named import SPACES
from search.suggestion.searcher import Observation, OptunaSearcher
from search.warm_start import gather, load, observations
from tests.support.fakes import small_cohort, trial_row
from tests.support.warm_starts import SAMPLE, refusal

LANES = LanePlan(num_lanes=1, num_workers=1, cpus_per_worker=1, gpus_per_worker=0.0)


def row(number: int, dices: list[float], **changes: Any) -> TrialRow:
    return trial_row(number, dices, **{"sample": SAMPLE} | changes)


def write_experiment(out: Path, name: str, rows: list[TrialRow], **options: Any) -> SearchConfig:
    """Return the config of an experiment with these trials."""
    config = SearchConfig(out=out, name=name, **options)
    with open_experiment(config, small_cohort(), LANES, WarmStart()):
        for one in rows:
            append_row(config.folder / "trials.jsonl", one)
    return config


def starting_from(out: Path, *names: str, **options: Any) -> SearchConfig:
    return SearchConfig(out=out, name="new", warm_start=names, **options)


def test_gather_of_nothing_is_nothing(tmp_path):
    assert gather(SearchConfig(out=tmp_path, name="new", begin_with_default=False)) == WarmStart()


def test_gather_takes_trials_as_they_were(tmp_path):
    rows = [
        row(0, [0.25, 0.5, 0.375]),
        row(1, [0.125], state=State.PRUNED, sample=SAMPLE | {"depth": 2}),
        row(2, [0.75], state=State.PRUNED, error="interrupted"),
    ]
    write_experiment(tmp_path, "old", rows)
    assert gather(starting_from(tmp_path, "old")).earlier == (
        EarlierTrial(sample=SAMPLE, values={1: 0.25, 2: 0.5, 3: 0.375}, state=State.COMPLETE),
        EarlierTrial(sample=SAMPLE | {"depth": 2}, values={1: 0.125}, state=State.PRUNED),
        EarlierTrial(sample=SAMPLE, values={1: 0.75}, state=State.PRUNED),
    )


def test_gather_takes_trials_of_several_experiments_in_their_order(tmp_path):
    for name, dice in (("a", 0.1), ("b", 0.2)):
        write_experiment(tmp_path, name, [row(0, [dice]), row(1, [dice + 0.5])])
    earlier = gather(starting_from(tmp_path, "b", "a")).earlier
    assert [one.values[1] for one in earlier] == [0.2, 0.7, 0.1, 0.6]


@pytest.mark.parametrize(
    "left_out",
    [
        row(1, [0.5], state=State.FAILED, error="raised"),
        row(1, [0.5], sample=SAMPLE | {"learning_rate": 0.1}),
        row(1, [0.5], sample=SAMPLE | {"depth": 6}),
        row(1, [0.5], sample=SAMPLE | {"bce_weight": -0.1}),
        row(1, [0.5], sample=SAMPLE | {"moment": 0.9}),  # of another version of the program
        row(1, []),
        row(1, [math.nan, math.nan]),
        row(1, [], epochs=[EpochMetrics(epoch=1, train_loss=0.5)]),
    ],
    ids=["failed", "rate", "depth", "weight", "unknown axis", "no epochs", "nan", "no dice"],
)
def test_gather_leaves_out_what_teaches_nothing(tmp_path, left_out):
    write_experiment(tmp_path, "old", [row(0, [0.25]), left_out, row(2, [0.75])])
    earlier = gather(starting_from(tmp_path, "old")).earlier
    assert [one.values for one in earlier] == [{1: 0.25}, {1: 0.75}]


def test_gather_leaves_out_epochs_that_are_not_finite(tmp_path):
    write_experiment(tmp_path, "old", [row(0, [0.25, math.nan, math.inf, 0.5])])
    known = gather(starting_from(tmp_path, "old"))
    assert known.earlier[0].values == {1: 0.25, 4: 0.5}
    json.dumps(to_json(known), allow_nan=False)


def test_gather_takes_the_bounds_of_the_space(tmp_path):
    low = {"learning_rate": 1e-4, "depth": 2, "dropout": 0.0, "bce_weight": 0.0}
    high = {"learning_rate": 1e-2, "depth": 5, "dropout": 0.5, "bce_weight": 1.0}
    write_experiment(tmp_path, "old", [row(0, [0.5], sample=low), row(1, [0.5], sample=high)])
    assert [one.sample for one in gather(starting_from(tmp_path, "old")).earlier] == [low, high]


@pytest.mark.parametrize("options", [{}, {"batch_size": 8, "width": 24}])
def test_gather_fills_in_axes_that_an_earlier_space_held_constant(tmp_path, options):
    old = write_experiment(tmp_path, "old", [row(0, [0.5])], **options)
    new = starting_from(tmp_path, "old", space="wide", batch_size=32, width=8)
    [found] = gather(new).earlier
    assert found.sample.keys() == SPACES["wide"].keys()
    assert to_configs(found.sample, new.shared_settings(3)) == to_configs(SAMPLE, old.shared_settings(3))


@pytest.mark.parametrize("options", [{"width": 12}, {"batch_size": 4}])
def test_gather_refuses_an_experiment_whose_constants_lie_on_no_axis(tmp_path, options):
    write_experiment(tmp_path, "old", [row(0, [0.5])], **options)
    message = f"no trial of {tmp_path / 'old'} lies in the search space: leave it out of --warm-start"
    assert refusal(starting_from(tmp_path, "old", space="wide")) == message


def test_gather_takes_the_overlap_with_a_space_that_has_constants_and_conditions(tmp_path):
    space = {
        "optimizer": CategoricalDistribution(["adamw", "sgd"]),
        "momentum": FloatDistribution(0.5, 0.99),
        "depth": IntDistribution(2, 4),
    }
    samples = [
        {"optimizer": "adamw", "depth": 3},
        {"optimizer": "sgd", "momentum": 0.9, "depth": 3},
        {"optimizer": "sgd", "momentum": 0.1, "depth": 3},
        {"optimizer": "adamw", "depth": 5},
        {"optimizer": "adamw", "depth": 4, "norm": "batch"},
    ]
    write_experiment(tmp_path, "old", [row(number, [0.5], sample=one) for number, one in enumerate(samples)])
    new = starting_from(tmp_path, "old", space=space, fixed=("norm=instance",))
    assert [one.sample for one in gather(new).earlier] == samples[:2]


@pytest.mark.parametrize(
    ("before", "now", "epochs"),
    [(9, 9, [1, 2, 3, 9]), (9, 27, [3, 6, 9, 27]), (9, 18, [2, 4, 6, 18]), (9, 90, [10, 20, 30, 90])],
)
def test_gather_stretches_epochs_to_the_new_schedule(tmp_path, before, now, epochs):
    dices = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    write_experiment(tmp_path, "old", [row(0, dices), row(1, dices[:3], state=State.PRUNED)], max_epochs=before)
    whole, pruned = gather(starting_from(tmp_path, "old", max_epochs=now)).earlier
    assert [whole.values[epoch] for epoch in epochs] == [0.1, 0.2, 0.3, 0.9]
    assert pruned.values == dict(zip(epochs, dices[:3], strict=False))


@pytest.mark.parametrize(("before", "now"), [(9, 3), (9, 1), (10, 7), (81, 9), (5, 4)])
def test_gather_shortens_epochs_to_the_new_schedule(tmp_path, before, now):
    dices = [epoch / 100 for epoch in range(1, before + 1)]
    write_experiment(tmp_path, "old", [row(0, dices), row(1, dices[:1], state=State.PRUNED)], max_epochs=before)
    whole, begun = gather(starting_from(tmp_path, "old", max_epochs=now)).earlier
    assert sorted(whole.values) == list(range(1, now + 1))
    assert whole.values[now] == dices[-1]  # a trial that was trained to its end counts as trained to the end here
    assert begun.values == {1: 0.01}  # epoch 0 becomes epoch 1
    for epoch, dice in whole.values.items():  # at the same share of the schedule, up to rounding
        assert abs(100 * dice / before - epoch / now) <= 0.5 / now + 1e-9 or epoch == 1


def test_gather_refuses_an_experiment_without_trials(tmp_path):
    write_experiment(tmp_path, "good", [row(0, [0.5])])
    write_experiment(tmp_path, "failed", [row(0, [0.5], state=State.FAILED)])
    write_experiment(tmp_path, "empty", [])
    for name in ("failed", "empty"):
        message = f"no trial of {tmp_path / name} lies in the search space: leave it out of --warm-start"
        assert refusal(starting_from(tmp_path, "good", name)) == message


def test_gather_refuses_what_is_no_experiment(tmp_path):
    assert refusal(starting_from(tmp_path, "gone")).startswith(
        f"{tmp_path / 'gone'} is not an experiment of this program: "
    )


def test_load_gives_what_the_experiment_began_with(tmp_path):
    write_experiment(tmp_path, "old", [row(0, [0.25, 0.5]), row(1, [0.75], state=State.PRUNED)])
    (tmp_path / "first.json").write_text(json.dumps([{"depth": 3}]))
    new = starting_from(tmp_path, "old", try_first=tmp_path / "first.json")
    known = gather(new)
    with open_experiment(new, small_cohort(), LANES, known):
        pass
    assert read_experiment(new.folder).known == known
    (tmp_path / "first.json").unlink()  # the source may be removed
    (tmp_path / "old" / CONFIG_FILE).unlink()
    found = load(new.folder)
    assert found.first == ({"learning_rate": 0.001, "depth": 4, "dropout": 0.1, "bce_weight": 0.5}, {"depth": 3})
    assert observations(found) == [
        Observation(sample=SAMPLE, values={1: 0.25, 2: 0.5}, state=State.COMPLETE, attrs={}),
        Observation(sample=SAMPLE, values={1: 0.75}, state=State.PRUNED, attrs={}),
    ]
    searcher = OptunaSearcher(
        SPACES["core"],
        sampler="tpe",
        seed=0,
        num_trials=4,
        max_epochs=9,
        first=found.first[1:],
        earlier=observations(found),
    )
    assert searcher.suggest().sample["depth"] == 3
    assert searcher.suggest().sample.keys() == SPACES["core"].keys()


def test_load_of_a_search_without_an_experiment_is_nothing(tmp_path):
    assert load(tmp_path) == WarmStart()


def test_load_of_an_experiment_of_an_older_version_is_nothing(tmp_path):
    config = write_experiment(tmp_path, "old", [])
    experiment = json.loads((config.folder / CONFIG_FILE).read_text())
    del experiment["known"]
    (config.folder / CONFIG_FILE).write_text(json.dumps(experiment))
    assert load(config.folder) == WarmStart()


def test_load_refuses_a_file_that_was_broken(tmp_path):
    config = write_experiment(tmp_path, "old", [])
    (config.folder / CONFIG_FILE).write_text("{")
    with pytest.raises(UserError, match=f"^{re.escape(str(config.folder))} is not an experiment of this program: "):
        load(config.folder)


def costly_row(number: int, dices: list[float], **costs: float) -> TrialRow:
    epochs = [
        replace(EpochMetrics(epoch=epoch, val_dice=dice, seconds=1.0), **costs)
        for epoch, dice in enumerate(dices, start=1)
    ]
    return row(number, [], epochs=epochs)


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        (("val_dice",), {0.25: {}, 0.5: {}, 0.75: {}}),
        (("val_dice", "latency_ms"), {0.75: {"latency_ms": 8.0}}),
        (("val_dice", "million_parameters"), {0.5: {"million_parameters": 2.0}, 0.75: {"million_parameters": 4.0}}),
        (("val_dice", "latency_ms", "million_parameters"), {0.75: {"latency_ms": 8.0, "million_parameters": 4.0}}),
    ],
)
def test_gather_leaves_out_trials_without_the_objectives_of_this_search(tmp_path, objectives, expected):
    rows = [
        row(0, [0.25]),
        costly_row(1, [0.5], million_parameters=2.0),
        costly_row(2, [0.75], million_parameters=4.0, latency_ms=8.0),
    ]
    write_experiment(tmp_path, "old", rows)
    earlier = gather(starting_from(tmp_path, "old", objective=objectives)).earlier
    assert {one.values[1]: one.costs for one in earlier} == expected


def test_gather_says_which_cost_no_trial_has(tmp_path):
    write_experiment(tmp_path, "old", [costly_row(0, [0.5], million_parameters=2.0)])
    wanted = starting_from(tmp_path, "old", objective=("val_dice", "million_parameters", "latency_ms"))
    assert refusal(wanted) == (
        f"no trial of {tmp_path / 'old'} lies in the search space and has million_parameters and has latency_ms: "
        "leave it out of --warm-start"
    )


def test_load_returns_the_costs_that_a_search_for_two_objectives_needs(tmp_path):
    write_experiment(tmp_path, "old", [costly_row(0, [0.5, 0.25], latency_ms=8.0), row(1, [0.75])])
    new = starting_from(tmp_path, "old", objective=("val_dice", "latency_ms"))
    with open_experiment(new, small_cohort(), LANES, gather(new)):
        pass
    earlier = observations(load(new.folder))
    assert earlier == [
        Observation(sample=SAMPLE, values={1: 0.5, 2: 0.25}, costs={"latency_ms": 8.0}, state=State.COMPLETE, attrs={})
    ]
    searcher = OptunaSearcher(
        SPACES["core"],
        sampler="tpe",
        seed=0,
        num_trials=4,
        max_epochs=9,
        objectives=new.objective,
        earlier=earlier,
    )
    assert searcher.suggest().sample.keys() == SPACES["core"].keys()
