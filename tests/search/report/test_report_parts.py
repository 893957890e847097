"""What a report is made of: what it reads of a search that is not over, axes, rungs, times, importances."""

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

from search.config import SearchConfig
from search.coordination.coordinator import Coordinator
from search.experiment import recorded_config
from search.formatting import format_value
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.report.axes import read_axes
from search.report.budget import budget_line
from search.report.importance import importances, needed_trials
from search.report.page import make_page
from search.report.rungs import read_rungs
from search.report.snapshot import label_of, read_snapshot
from search.report.space_figures import dice_along_axes, dice_over_pairs, parallel_coordinates
from search.report.style import plot_text, script_json
from search.report.timeline import busy_periods, time_shares
from search.scheduling.schedulers import SCHEDULERS
from search.space.named import SPACES
from search.space.space import describe
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import Rows, lanes_json, learning_curve, trial_row, write_experiment
from tests.support.simulation import simulate

CORE = describe(SPACES["core"])


def search_until(folder, *, num_epochs=None, scheduler="asha", trials=27):
    """Return the folder and the coordinator of a simulated search that died after so many epochs; None: at its end."""
    options = {"trials": trials, "max_epochs": 9, "scheduler": scheduler, "begin_with_default": True}
    write_experiment(folder, [], config=options, lanes=lanes_json(3))
    config = SearchConfig(**options)
    coordinator = Coordinator(
        OptunaSearcher(SPACES["core"], sampler="random", seed=1, num_trials=trials, max_epochs=9),
        SCHEDULERS[scheduler].make(config.scheduler_request()),
        num_trials=trials,
        listener=Rows(),
        log=folder / "events.jsonl",
    )
    epochs = simulate(coordinator, lambda leg, epoch: learning_curve(leg.sample, epoch), max_epochs=9, num_lanes=3)
    for _ in itertools.islice(epochs, num_epochs):
        pass
    return coordinator


@pytest.mark.parametrize(
    ("budget", "spent", "line"),
    [
        (None, {"seconds": 1791.2, "final_seeds": 4}, None),
        ("30m", None, "Planned: 11 trials of at most 9 epochs and 1 final seed, at 5 s for an epoch. So far: {}."),
        (
            "30m",
            {"seconds": 1791.2, "final_seeds": 4},
            "Planned: 11 trials of at most 9 epochs and 1 final seed, at 5 s for an epoch. "
            "Done: {} and 4 final seeds, in 29 min 51 s (100% of the budget).",
        ),
        (
            "108 epochs",
            {"seconds": 60.0, "final_seeds": 1},
            "Planned: 11 trials of at most 9 epochs and 1 final seed. Done: {} and 1 final seed, in 1 min 00 s.",
        ),
    ],
)
def test_budget_line_compares_the_plan_with_what_was_done(tmp_path, budget, spent, line):
    config = {"budget": budget, "trials": 11, "max_epochs": 9, "promotion": {"final_seeds": 1}}
    config |= {"epoch_seconds": 5.0} if budget == "30m" else {}
    rows = [trial_row(0, [0.1, 0.2]), trial_row(1, [0.1])]
    write_experiment(tmp_path, rows, config=config | {"begin_with_default": True}, lanes=lanes_json(1))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | ({"spent": spent} if spent else {})))
    snapshot = read_snapshot(tmp_path)
    assert budget_line(snapshot) == (line and line.format("2 trials with 3 epochs"))
    assert ("<dt>budget</dt>" in make_page(snapshot)) == (budget is not None)


@pytest.mark.parametrize("num_epochs", [1, 20, 41])
def test_snapshot_distinguishes_running_and_paused_trials(tmp_path, num_epochs):
    coordinator = search_until(tmp_path, num_epochs=num_epochs)
    names = {"running": "RUNNING", "paused": "PAUSED"}
    rows = read_snapshot(tmp_path, is_running=True).rows
    assert [row.number for row in rows] == list(coordinator.trials)
    for row, trial in zip(rows, coordinator.trials.values(), strict=True):
        assert row.epochs == trial.all_epochs
        if trial.phase != "ended" and not trial.outcome:  # an outcome is known before its leg is over
            assert row.state is None
            assert label_of(row) == names[trial.phase]
    after = {row.id: label_of(row) for row in read_snapshot(tmp_path).rows}
    assert after == {row.id: label_of(row).replace("RUNNING", "INTERRUPTED") for row in rows}
    assert {"INTERRUPTED"} < set(after.values()) or num_epochs == 1


def test_snapshot_prefers_the_row_of_a_trial_to_its_log(tmp_path):
    search_until(tmp_path, num_epochs=20)
    write_experiment(tmp_path, [trial_row(0, [0.5], error="interrupted")], config={"trials": 27, "max_epochs": 9})
    rows = read_snapshot(tmp_path).rows
    assert rows[0].error == "interrupted"
    assert len(rows) > 3


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_rungs_are_those_of_the_scheduler(tmp_path, scheduler):
    coordinator = search_until(tmp_path, scheduler=scheduler)
    inner = coordinator._scheduler
    expected = {}
    for place, bracket in enumerate(getattr(inner, "brackets", [inner]), 1):
        for epoch, rung in bracket._rungs.items():
            if rung.arrived:
                continued = {f"t{one:03d}": rung.arrived[one][0] for one in rung.promoted}
                expected[place, epoch] = (len(rung.arrived), continued)
    rungs = read_rungs(recorded_config(tmp_path), read_snapshot(tmp_path).rows)
    assert {(rung.bracket, rung.epoch): (rung.num_reached, rung.continued) for rung in rungs} == expected
    assert len(expected) > 1


def test_rungs_by_hand():
    config = SearchConfig(trials=4, max_epochs=4, grace_period=1, reduction_factor=2)
    rows = [
        trial_row(0, [0.5, 0.6, 0.7, 0.8]),
        trial_row(1, [0.4], state=State.PRUNED),
        trial_row(2, [0.3, 0.4], state=State.PRUNED),
        trial_row(3, [math.nan], state=State.FAILED),
    ]
    first, second = read_rungs(config, rows)
    assert (first.epoch, first.continued, first.stopped) == (1, {"t000": 0.5, "t002": 0.3}, {"t001": 0.4})
    assert (first.lowest_continued, first.highest_stopped) == (0.3, 0.4)
    assert (second.epoch, second.continued, second.stopped) == (2, {"t000": 0.6}, {"t002": 0.4})
    assert (second.lowest_continued, second.highest_stopped) == (0.6, 0.4)


@pytest.mark.parametrize("scheduler", ["none", "median"])
def test_rungs_are_empty_for_a_scheduler_without_rungs(tmp_path, scheduler):
    assert read_rungs(SearchConfig(scheduler=scheduler), [trial_row(0, [0.5] * 9)]) == []


def timed(number, *times, **metrics):
    """Return a trial whose epochs took from the first to the second of each pair of times."""
    epochs = [
        EpochMetrics(epoch=place, val_dice=0.5, seconds=end - begin, elapsed_seconds=end, **metrics)
        for place, (begin, end) in enumerate(times, 1)
    ]
    return trial_row(number, [], epochs=epochs)


def test_timeline_by_hand():
    clocks = {"waiting_seconds": 0.5, "val_seconds": 1.0}
    rows = [timed(0, (2.0, 6.0), (6.0, 10.0), **clocks), timed(1, (3.0, 7.0), **clocks), timed(2, (8.0, 9.0), **clocks)]
    stretches = busy_periods(rows, 2)
    assert [(one.lane, one.number, one.begin, one.end, one.num_epochs) for one in stretches] == [
        (0, 0, 2.0, 10.0, 2),
        (1, 1, 3.0, 7.0, 1),
        (1, 2, 8.0, 9.0, 1),
    ]
    found = {share.name: share.seconds for share in time_shares(rows, stretches, 2)}
    assert found == {
        "training": 13.0 - 4 * 1.5,
        "validation": 4.0,
        "waiting for data": 2.0,
        "start-up": 5.0,
        "between epochs": 1.0,
        "idle at the end": 1.0,
    }


def test_time_shares_join_training_and_validation_if_not_told_apart():
    rows = [timed(0, (1.0, 3.0))]
    found = {share.name: share.seconds for share in time_shares(rows, busy_periods(rows, 1), 1)}
    assert found["training and validation"] == 2.0
    assert "validation" not in found


@pytest.mark.parametrize("num_lanes", [1, 2, 3, 7])
def test_time_shares_add_up_to_the_wall_clock_of_all_lanes(num_lanes):
    rng = np.random.default_rng(num_lanes)
    rows, clock = [], [float(rng.random())] * num_lanes
    for place in range(40):
        lane = int(np.argmin(clock))
        begin = clock[lane] + float(rng.random())
        ends = np.cumsum(rng.uniform(0.5, 2, rng.integers(1, 4))) + begin
        rows.append(timed(place, *itertools.pairwise([begin, *map(float, ends)])))
        clock[lane] = float(ends[-1])
    stretches = busy_periods(rows, num_lanes)
    assert {one.lane for one in stretches} == set(range(num_lanes))
    for one, other in itertools.pairwise(sorted(stretches, key=lambda each: (each.lane, each.begin))):
        assert one.lane != other.lane or one.end <= other.begin + 1e-9
    total = sum(share.seconds for share in time_shares(rows, stretches, num_lanes))
    assert total == pytest.approx(num_lanes * max(clock))


def test_busy_periods_are_empty_without_times():
    assert busy_periods([trial_row(0, [0.5])], 1) == []
    assert time_shares([trial_row(0, [0.5])], [], 1) == []


def test_axes_cover_the_space_and_have_round_ticks():
    space = {"norm": "one of instance, batch", "rate": "0.0001 to 0.01, log", "depth": "2 to 5", "gone": "0 to 1"}
    samples = [{"norm": "batch", "rate": 1e-3, "depth": 3}, {"norm": "batch", "rate": 0.05, "depth": 3}]
    rows = [trial_row(place, [0.5], sample=sample) for place, sample in enumerate(samples)]
    norm, rate, depth = read_axes(space, rows)
    assert norm.ticks() == ([0.0, 1.0], ["instance", "batch"])
    assert rate.ticks() == ([-4.0, -3.0, -2.0], ["0.0001", "0.001", "0.01"])
    assert depth.ticks() == ([2, 3, 4, 5], ["2", "3", "4", "5"])
    assert list(depth.fractions([2, 5])) == [0.0, 1.0]
    assert list(rate.fractions([1e-4, 0.05])) == [0.0, 1.0]  # a value beyond the space
    assert list(norm.fractions(["instance", "batch"])) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("description", "values", "marks"),
    [
        ("-", [0.25, 0.25], ["0.25"]),
        ("0 to 0.5", [0.1], ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ("one of 8", [8], ["8"]),
    ],
)
def test_axis_of_a_single_value_has_a_tick(description, values, marks):
    rows = [trial_row(place, [0.5], sample={"one": value}) for place, value in enumerate(values)]
    (axis,) = read_axes({"one": description}, rows)
    assert axis.ticks()[1] == marks
    assert np.isfinite(axis.fractions(values)).all()


def space_rows(num_trials, *, seed=0):
    """Return trials in the core space whose Dice is set by the learning rate, and a little by the depth."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(num_trials):
        rate, depth = 10 ** rng.uniform(-4, -2), int(rng.integers(2, 6))
        sample = {"learning_rate": rate, "depth": depth, "dropout": rng.uniform(0, 0.5), "bce_weight": rng.random()}
        rows.append(trial_row(place, [0.9 - 0.2 * (math.log10(rate) + 3) ** 2 - 0.01 * depth], sample=sample))
    return rows


def test_importances_find_what_the_dice_depends_on():
    rows = space_rows(60)
    found = importances(rows, read_axes(CORE, rows))
    assert found[0].name == "learning_rate"
    assert found[0].low > 0.8
    assert sum(one.mean for one in found) == pytest.approx(1)
    assert all(one.low <= one.mean <= one.high for one in found)


def test_importances_are_empty_for_too_few_or_equal_trials():
    rows = space_rows(needed_trials(read_axes(CORE, space_rows(1))) - 1)
    axes = read_axes(CORE, rows)
    assert importances(rows, axes) == []
    equal = [trial_row(place, [0.5], sample=row.sample) for place, row in enumerate(space_rows(30))]
    assert importances(equal, axes) == []


def traces(figure) -> list[Any]:
    """Return the traces of a figure, which plotly does not type."""
    return list(figure.plot.data)


def test_space_figures_show_every_trial_in_few_traces():
    rows = space_rows(300)
    axes = read_axes(CORE, rows)
    lines = traces(parallel_coordinates(rows, axes))
    assert len(lines) <= 8
    assert sum(np.isnan(np.asarray(line.y)).sum() for line in lines) == 300  # a gap behind each
    assert [len(trace.x) for trace in traces(dice_along_axes(rows, axes))] == [300] * 4
    titles = [figure.title for figure in dice_over_pairs(rows, axes)]
    assert titles == ["learning_rate and depth", "learning_rate and dropout", "depth and dropout"]


def test_surface_is_highest_where_the_trials_are_best():
    rows = space_rows(300)
    contour = traces(dice_over_pairs(rows, read_axes(CORE, rows))[0])[0]
    row, column = np.unravel_index(np.nanargmax(contour.z), contour.z.shape)
    assert contour.x[column] == pytest.approx(-3, abs=0.3)  # decades
    assert contour.y[row] < 3.5


def test_surface_is_empty_where_there_are_no_trials():
    rows = [row for row in space_rows(300) if row.sample["depth"] == 2 or row.sample["learning_rate"] > 3e-3]
    contour = traces(dice_over_pairs(rows, read_axes(CORE, rows))[0])[0]
    z = np.asarray(contour.z)
    assert np.isnan(z[-1, 0])
    assert np.isfinite(z[0, 0])


def test_text_is_never_taken_for_markup():
    evil = "</script><!-- <b>&\u2028"
    assert json.loads(script_json(json.dumps({"text": evil}))) == {"text": evil}
    assert not set("<>&\u2028") & set(script_json(json.dumps(evil, ensure_ascii=False)))
    assert plot_text("<b>&amp;") == "&lt;b&gt;&amp;amp;"
    assert [format_value(value) for value in (None, math.nan, 0.123456, 3, "adam")] == ["-", "-", "0.1235", "3", "adam"]


def test_axis_without_effect_in_a_trial_is_a_gap_there():
    space = {"optimizer": "one of adamw, sgd", "momentum": "0.5 to 0.99; where optimizer is sgd", "width": "24 in all"}
    samples = [{"optimizer": "adamw"}, {"optimizer": "sgd", "momentum": 0.9}]
    rows = [trial_row(place, [0.5 + place / 8], sample=sample) for place, sample in enumerate(samples)]
    optimizer, momentum = axes = read_axes(space, rows)
    assert (momentum.low, momentum.high) == (0.5, 0.99)
    assert np.isnan(momentum.coordinates([None, 0.9])).tolist() == [True, False]
    assert np.isnan(optimizer.coordinates([None, "sgd"])).tolist() == [True, False]
    _, along = traces(dice_along_axes(rows, axes))
    assert list(along.x) == [0.9]
    assert [figure.id for figure in dice_over_pairs(rows, axes)] == ["surface-optimizer-momentum"]
    assert parallel_coordinates(rows, axes).title == "Parallel coordinates"
