"""The recorder: a row for every trial that ended, its errors, and the checkpoints that may be needed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from search.coordination.checkpoints import METRICS_FILE, STATE_FILE, Checkpoints, leg_name
from search.coordination.recorder import Recorder
from search.coordination.trial_progress import Phase, TrialProgress
from search.record.objectives import NUM_KEPT, pareto_front
from search.record.trials import State, TrialRow, best_first, read_rows
from tests.support.fakes import SAMPLE, progress


def write_checkpoints(folder: Path, number: int, dices: list[float]) -> list[Path]:
    """Return the state files of a trial's epochs, written in one leg."""
    files = []
    for epoch, dice in enumerate(dices, start=1):
        checkpoint = folder / "ray" / leg_name(number, 1) / f"checkpoint_{epoch - 1:06d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / STATE_FILE).write_bytes(b"state")
        (checkpoint / METRICS_FILE).write_text(json.dumps({"epoch": epoch, "val_dice": dice}))
        files.append(checkpoint / STATE_FILE)
    return files


def make_recorder(folder: Path, *, objectives: tuple[str, ...] = ("val_dice",), logs: Path | None = None) -> Recorder:
    return Recorder(folder / "trials.jsonl", Checkpoints(folder / "ray"), objectives, logs=logs)


def test_recorder_keeps_the_checkpoint_of_the_default_trial(tmp_path):
    recorder = Recorder(tmp_path / "trials.jsonl", Checkpoints(tmp_path / "ray"), default_trial=0)
    for number in range(NUM_KEPT + 2):
        write_checkpoints(tmp_path, number, [number / 10])
        recorder.on_end(progress(number, [number / 10]), State.COMPLETE, None)
    assert numbers_on_disk(tmp_path) == [0, *range(2, NUM_KEPT + 2)]


def rows_of(folder: Path) -> list[TrialRow]:
    return read_rows(folder / "trials.jsonl")


def numbers_on_disk(folder: Path) -> list[int]:
    return sorted({int(file.parent.parent.name[1:4]) for file in folder.glob(f"ray/*/*/{STATE_FILE}")})


def test_recorder_writes_the_row_of_a_trial_that_ended(tmp_path):
    write_checkpoints(tmp_path, 3, [0.5, 0.75, 0.25])
    trial = progress(3, [0.5, 0.75, 0.25])
    make_recorder(tmp_path).on_end(trial, State.PRUNED, "no room")
    [row] = rows_of(tmp_path)
    assert (row.number, row.state, row.sample, row.error) == (3, State.PRUNED, SAMPLE, "no room")
    assert row.epochs == (trial.epochs[1], trial.epochs[2], trial.epochs[3])
    assert row.seconds == 6.0
    assert row.checkpoint == "ray/t003-1/checkpoint_000001/checkpoint.pt"


def test_recorder_writes_epochs_in_their_order(tmp_path):
    trial = progress(0, [0.1, 0.2, 0.3])
    trial.epochs = {epoch: trial.epochs[epoch] for epoch in (3, 1, 2)}  # 1 and 2 were trained again
    make_recorder(tmp_path).on_end(trial, State.COMPLETE, None)
    assert [epoch.epoch for epoch in rows_of(tmp_path)[0].epochs] == [1, 2, 3]


def test_recorder_writes_a_trial_without_epochs(tmp_path):
    make_recorder(tmp_path).on_end(progress(0, []), State.FAILED, "RuntimeError: raised\nTraceback")
    [row] = rows_of(tmp_path)
    assert (row.state, row.epochs, row.seconds, row.checkpoint) == (State.FAILED, (), 0, None)
    assert row.error == "RuntimeError: raised\nTraceback"


def test_recorder_keeps_the_best_of_an_ended_trial_and_the_newest_of_one_cut_off(tmp_path):
    ended, cut = (write_checkpoints(tmp_path, number, [0.5, 0.9, 0.7]) for number in (0, 1))
    recorder = make_recorder(tmp_path)
    recorder.on_end(progress(0, [0.5, 0.9, 0.7]), State.COMPLETE, None)
    recorder.on_end(progress(1, [0.5, 0.9, 0.7], phase=Phase.INTERRUPTED), State.PRUNED, "interrupted")
    assert set(tmp_path.glob(f"ray/*/*/{STATE_FILE}")) == {ended[1], cut[1], cut[2]}
    assert {str(tmp_path / row.checkpoint) for row in rows_of(tmp_path)} == {str(ended[1]), str(cut[1])}


def test_recorder_keeps_what_a_paused_trial_needs(tmp_path):
    files = write_checkpoints(tmp_path, 0, [0.5, 0.9, 0.8, 0.7])
    make_recorder(tmp_path).restore([progress(0, [0.5, 0.9, 0.8, 0.7], phase=Phase.PAUSED)])
    assert set(tmp_path.glob(f"ray/*/*/{STATE_FILE}")) == {files[1], files[3]}
    assert rows_of(tmp_path) == []


@pytest.mark.parametrize("order", [1, 5, 7])
def test_recorder_keeps_only_the_checkpoints_of_the_best_ended_trials(tmp_path, order):
    recorder = make_recorder(tmp_path)
    for step in range(12):
        number = step * order % 12
        write_checkpoints(tmp_path, number, [number / 20, number / 20])
        recorder.on_end(progress(number, [number / 20] * 2), State.COMPLETE, None)
        best = [row.number for row in best_first(rows_of(tmp_path))[:NUM_KEPT]]
        assert numbers_on_disk(tmp_path) == sorted(best)
    assert numbers_on_disk(tmp_path) == [7, 8, 9, 10, 11]


def test_recorder_keeps_the_earlier_trials_among_equals(tmp_path):
    recorder = make_recorder(tmp_path)
    for number in reversed(range(NUM_KEPT + 2)):
        write_checkpoints(tmp_path, number, [0.5])
        recorder.on_end(progress(number, [0.5]), State.PRUNED, None)
    assert numbers_on_disk(tmp_path) == list(range(NUM_KEPT))


def test_recorder_keeps_all_checkpoints_of_trials_that_may_continue(tmp_path):
    recorder = make_recorder(tmp_path)
    for number in range(NUM_KEPT + 3):
        write_checkpoints(tmp_path, number, [0.1])
        recorder.on_end(progress(number, [0.1], phase=Phase.PAUSED), State.PRUNED, "interrupted")
    assert numbers_on_disk(tmp_path) == list(range(NUM_KEPT + 3))


def test_recorder_keeps_nothing_of_a_trial_without_a_score(tmp_path):
    write_checkpoints(tmp_path, 0, [math.nan])
    make_recorder(tmp_path).on_end(progress(0, [math.nan]), State.FAILED, "val_dice is nan")
    assert numbers_on_disk(tmp_path) == []
    assert rows_of(tmp_path)[0].checkpoint is None


LATENCIES = {2: 1.0, 4: 5.0, 6: 5.0}
"""By trial; all others are slow."""


def costly_progress(number: int) -> TrialProgress:
    """Return a trial whose Dice is better the higher its number."""
    trial = progress(number, [number / 20, number / 40])
    latency_ms = LATENCIES.get(number, 10.0)
    trial.epochs = {number: replace(epoch, latency_ms=latency_ms) for number, epoch in trial.epochs.items()}
    return trial


@pytest.mark.parametrize(
    ("objectives", "kept"),
    [
        (("val_dice",), [7, 8, 9, 10, 11]),
        (("val_dice", "latency_ms"), [2, 6, 7, 8, 9, 10, 11]),  # 4 is as fast as 6, and worse
    ],
)
@pytest.mark.parametrize("order", [1, 5, 7, 11])
def test_recorder_keeps_checkpoints_of_the_pareto_front_too(tmp_path, objectives, kept, order):
    recorder = make_recorder(tmp_path, objectives=objectives)
    for step in range(12):
        number = step * order % 12
        write_checkpoints(tmp_path, number, [number / 20, number / 40])
        recorder.on_end(costly_progress(number), State.COMPLETE, None)
        ended = rows_of(tmp_path)
        front = {row.number for row in pareto_front(ended, objectives)}
        best = {row.number for row in best_first(ended)[:NUM_KEPT]}
        assert numbers_on_disk(tmp_path) == sorted(front | best)
    assert numbers_on_disk(tmp_path) == kept


def test_recorder_keeps_nothing_of_a_fast_trial_without_a_score(tmp_path):
    recorder = make_recorder(tmp_path, objectives=("val_dice", "latency_ms"))
    for number, dice in ((0, 0.5), (1, math.nan)):
        write_checkpoints(tmp_path, number, [dice])
        trial = progress(number, [dice])
        trial.epochs[1] = replace(trial.epochs[1], latency_ms=10.0 - number)
        recorder.on_end(trial, State.FAILED, "raised")
    assert numbers_on_disk(tmp_path) == [0]


def test_recorder_keeps_the_whole_error_of_a_failure_and_of_a_loss_once(tmp_path):
    recorder = make_recorder(tmp_path)
    error = "ValueError: odd\nTraceback (most recent call last):\n  in f\nValueError: odd"
    trial = progress(7, [0.5])
    recorder.on_loss(trial, "a worker is gone")
    for _ in range(2):  # the second time when the search is restored
        recorder.on_end(trial, State.FAILED, error)
    recorder.on_end(progress(8, [0.5]), State.PRUNED, "interrupted")
    assert (tmp_path / "errors" / "t007.txt").read_text() == f"a worker is gone\n\n{error}\n\n"
    assert [file.name for file in (tmp_path / "errors").iterdir()] == ["t007.txt"]
