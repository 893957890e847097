"""What a person is shown of a search that goes on."""

import math
import time

import pytest

from search.coordination.progress import Progress
from search.record.trials import State
from search.screen.board import Best
from tests.search.screen.test_screen import make_board
from tests.support.fakes import SAMPLE, progress


def add_epoch(board, trial: Progress, dice: float, *, seconds: float = 10.0) -> None:
    epoch = max(trial.epochs, default=0) + 1
    trial.epochs[epoch] = {"epoch": epoch, "val_dice": dice, "seconds": seconds}
    board.on_epoch(trial, trial.epochs[epoch])


def test_view_has_who_runs_who_waits_and_how_the_others_ended():
    board = make_board(num_lanes=2)
    running, paused, ended = progress(0, [], phase="running"), progress(1, [], phase="running"), progress(2, [0.25])
    for trial in (running, paused):
        board.on_leg(trial)
    add_epoch(board, running, 0.5)
    add_epoch(board, paused, math.nan)
    paused.phase = "paused"
    board.on_end(ended, State.FAILED)
    view = board.view()
    assert (view.num_paused, view.counts, view.num_ended) == (1, {State.FAILED: 1}, 1)
    assert view.best == Best(number=0, epoch=1, dice=0.5, sample=SAMPLE)
    [row] = view.running
    assert (row.number, row.dices, row.epoch, row.sample) == (0, (0.5,), 1, SAMPLE)
    assert row.left_seconds == pytest.approx(8 * 10.0, abs=1)


def test_time_left_of_a_trial_runs_down_and_is_unknown_before_its_first_epoch():
    board = make_board()
    trial = progress(0, [], phase="running")
    board.on_leg(trial)
    assert board.view().running[0].left_seconds is None
    add_epoch(board, trial, 0.5)
    before = board.view().running[0].left_seconds
    time.sleep(0.02)
    assert before - 5 < board.view().running[0].left_seconds < before


def test_estimate_leaves_out_the_start_of_the_lanes_but_not_what_epochs_cost_later():
    board = make_board(num_trials=1, num_lanes=1)
    trial = progress(0, [], phase="running")
    board.on_leg(trial)
    time.sleep(0.2)  # its worker group starts
    add_epoch(board, trial, 0.5, seconds=0.01)
    assert board.left.seconds <= 8 * 0.01
    time.sleep(0.2)  # its checkpoint is written
    board._next_estimate = 0.0
    add_epoch(board, trial, 0.5, seconds=0.01)
    assert board.left.seconds > 7 * 0.15


def test_estimate_ends_with_the_time_budget():
    board = make_board(num_trials=100, num_lanes=1, time_budget_seconds=60.0)
    assert board.left is None
    trial = progress(0, [], phase="running")
    board.on_leg(trial)
    add_epoch(board, trial, 0.5, seconds=1000.0)
    assert 55 < board.left.seconds <= 60


def test_best_so_far_is_the_first_of_equals_and_goes_on_after_a_resume():
    board = make_board()
    trials = {0: progress(0, [0.5, math.nan, 0.75]), 1: progress(1, [0.75], phase="unfinished")}
    board.restore(trials)
    assert board.best == Best(number=0, epoch=3, dice=0.75, sample=SAMPLE)
    add_epoch(board, trials[1], 0.75)
    assert board.best.number == 0
    add_epoch(board, trials[1], 0.8)
    assert (board.best.number, board.best.epoch) == (1, 3)
    assert board.left is not None  # what was read back is evidence
