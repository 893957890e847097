"""The state of a running search as a person is shown it."""

import math
import time

import pytest

from search.coordination.trial_progress import Phase, TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.screen.board import Best, Board
from tests.search.screen.test_screen import make_board
from tests.support.fakes import SAMPLE, progress


def add_epoch(board: Board, trial: TrialProgress, dice: float, *, seconds: float = 10.0) -> None:
    epoch = max(trial.epochs, default=0) + 1
    trial.epochs[epoch] = EpochMetrics(epoch=epoch, val_dice=dice, seconds=seconds)
    board.on_epoch(trial, trial.epochs[epoch])


def seconds_left(board: Board) -> float:
    assert board.left is not None
    return board.left.seconds


def left_of_the_running_trial(board: Board) -> float:
    [row] = board.view().running
    assert row.left_seconds is not None
    return row.left_seconds


def test_view_has_running_and_paused_trials_and_how_others_ended():
    board = make_board(num_lanes=2)
    running, paused, ended = (
        progress(0, [], phase=Phase.RUNNING),
        progress(1, [], phase=Phase.RUNNING),
        progress(2, [0.25]),
    )
    for trial in (running, paused):
        board.on_leg(trial)
    add_epoch(board, running, 0.5)
    add_epoch(board, paused, math.nan)
    paused.phase = Phase.PAUSED
    board.on_end(ended, State.FAILED)
    view = board.view()
    assert (view.num_paused, view.counts, view.num_ended) == (1, {State.FAILED: 1}, 1)
    assert view.best == Best(number=0, epoch=1, dice=0.5, sample=SAMPLE)
    [row] = view.running
    assert (row.number, row.dices, row.epoch, row.sample) == (0, (0.5,), 1, SAMPLE)
    assert row.left_seconds == pytest.approx(8 * 10.0, abs=1)


def test_time_left_of_a_trial_counts_down_from_its_first_epoch():
    board = make_board()
    trial = progress(0, [], phase=Phase.RUNNING)
    board.on_leg(trial)
    assert board.view().running[0].left_seconds is None
    add_epoch(board, trial, 0.5)
    before = left_of_the_running_trial(board)
    time.sleep(0.02)
    assert before - 5 < left_of_the_running_trial(board) < before


def test_estimate_counts_the_overhead_of_epochs_but_not_the_start_of_lanes():
    board = make_board(num_trials=1, num_lanes=1)
    trial = progress(0, [], phase=Phase.RUNNING)
    board.on_leg(trial)
    time.sleep(0.2)  # its worker group starts
    add_epoch(board, trial, 0.5, seconds=0.01)
    assert seconds_left(board) <= 8 * 0.01
    time.sleep(0.2)  # its checkpoint is written
    board._next_estimate = 0.0
    add_epoch(board, trial, 0.5, seconds=0.01)
    assert seconds_left(board) > 7 * 0.15


def test_estimate_ends_with_the_time_budget():
    board = make_board(num_trials=100, num_lanes=1, time_budget_seconds=60.0)
    assert board.left is None
    trial = progress(0, [], phase=Phase.RUNNING)
    board.on_leg(trial)
    add_epoch(board, trial, 0.5, seconds=1000.0)
    assert 55 < seconds_left(board) <= 60


def test_best_so_far_is_the_first_of_equals_also_after_a_resume():
    board = make_board()
    trials = {0: progress(0, [0.5, math.nan, 0.75]), 1: progress(1, [0.75], phase=Phase.INTERRUPTED)}
    board.restore(trials)
    assert board.best == Best(number=0, epoch=3, dice=0.75, sample=SAMPLE)
    add_epoch(board, trials[1], 0.75)
    assert board.best == Best(number=0, epoch=3, dice=0.75, sample=SAMPLE)
    add_epoch(board, trials[1], 0.8)
    assert board.best == Best(number=1, epoch=3, dice=0.8, sample=SAMPLE)
    assert board.left is not None  # from the epochs before the interruption
