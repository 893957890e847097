"""What is said of a search, an event a line."""

import math
import pickle
import re
from pathlib import Path

import pytest

from search.console import say
from search.coordination.trial_progress import Phase
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.scheduling.scheduler import SchedulerRequest
from search.scheduling.schedulers import SCHEDULERS
from search.screen.board import Board
from search.screen.clock import Clock
from search.screen.eta import Estimate, Plan
from search.screen.lines import Lines, describe_left
from tests.support.fakes import progress

SAMPLE = "learning_rate 0.00123 depth 3"


def make_board(
    *, num_trials: int = 12, num_lanes: int = 2, clock: Clock | None = None, default: int | None = None, **options
) -> Board:
    request = SchedulerRequest(num_trials=num_trials, max_epochs=9, grace_period=1, reduction_factor=3)
    plan = Plan(num_trials=num_trials, max_epochs=9, num_lanes=num_lanes, default_trial=default)
    return Board(plan, SCHEDULERS["asha"].make(request), clock or Clock(), **options)


def make_lines(**options) -> Lines:
    return Lines(make_board(**options), Path("runs/x"))


def said(capsys) -> list[str]:
    """Return the lines that were printed, without their times."""
    lines = capsys.readouterr().out.splitlines()
    assert all(re.match(r" *\d+:\d\d  ", line) for line in lines)
    return [line.split("  ", 1)[1] if line[0] != " " else line.strip().split("  ", 1)[1] for line in lines]


def test_lines_say_how_a_trial_ended(capsys):
    lines = make_lines(num_trials=2)
    lines.on_end(progress(0, [0.5, 0.25]), State.PRUNED, None)
    lines.on_end(progress(1, []), State.FAILED, "ValueError: odd\nTraceback:\nValueError: odd")
    assert said(capsys) == [
        f"t000 PRUNED   after  2 epochs, best Dice 0.5000, {SAMPLE}  [1/2]",
        f"t001 FAILED   after  0 epochs, best Dice nan, {SAMPLE}  [2/2] (ValueError: odd); errors/t001.txt",
    ]


def test_lines_say_the_best_so_far_and_nothing_else_of_an_epoch(capsys):
    lines = make_lines()
    trial = progress(2, [0.5, 0.5, math.nan, 0.25, 0.75])
    for epoch in trial.epochs.values():
        lines.on_epoch(trial, epoch)
    lines.on_epoch(trial, EpochMetrics(epoch=6, train_loss=math.nan, seconds=1.0))
    assert said(capsys) == [
        "t002 epoch 1: best so far, validation Dice 0.5000",
        "t002 epoch 5: best so far, validation Dice 0.7500",
    ]


def test_lines_compare_with_the_default(capsys):
    lines = make_lines(default=0)
    for trial in (progress(0, [0.5]), progress(1, [0.625])):
        lines.on_leg(trial)
        lines.on_epoch(trial, trial.epochs[1])
    lines.on_end(progress(0, [0.5]), State.COMPLETE, None)
    assert said(capsys) == [
        "t000 epoch 1: best so far, validation Dice 0.5000, by the default",
        "t001 epoch 1: best so far, validation Dice 0.6250, +0.1250 from the default",
        f"t000 COMPLETE after  1 epochs, best Dice 0.5000, {SAMPLE}, the default  [1/12]",
    ]


def test_lines_say_a_lost_group_in_one_line(capsys):
    error = "Failure # 1 (occurred now)\nThe actor died. It may have been this or that.\n\tpid: 1\nBye."
    make_lines().on_loss(progress(3, [0.5], phase=Phase.RUNNING), error)
    assert said(capsys) == ["t003 lost its worker group (The actor died); errors/t003.txt"]


def test_lines_do_not_list_the_trials_that_were_cut_off(capsys):
    make_lines().on_end(progress(0, [0.5], phase=Phase.PAUSED), State.PRUNED, "interrupted")
    assert said(capsys) == []


def test_lines_replay_events_quietly_and_then_print_again(capsys):
    lines = make_lines()
    with lines.quietly():
        lines.on_end(progress(0, [0.5]), State.COMPLETE, None)
        lines.on_end(progress(1, [0.5]), State.COMPLETE, None)
    assert said(capsys) == []
    lines.on_end(progress(2, [0.5]), State.COMPLETE, None)
    assert "[3/12]" in said(capsys)[0]


def test_restored_lines_continue_clock_counts_and_best(capsys):
    clock = Clock()
    lines = make_lines(clock=clock)
    trials = {
        0: progress(0, [0.5, 0.7]),
        1: progress(1, [0.6, math.nan], phase=Phase.PAUSED, elapsed_seconds=599.0),
        2: progress(2, [], phase=Phase.INTERRUPTED),
        3: progress(3, [0.1], phase=Phase.INTERRUPTED),
    }
    with lines.quietly():
        lines.on_end(trials[0], State.COMPLETE, None)
    clock.restore(trials.values())
    lines.restore(trials)
    for epoch, dice in ((3, 0.65), (4, 0.75)):
        trials[1].epochs[epoch] = EpochMetrics(epoch=epoch, val_dice=dice, seconds=2.0)
        lines.on_epoch(trials[1], trials[1].epochs[epoch])
    text = capsys.readouterr().out.splitlines()
    assert all(re.match(r" 10:0\d  ", line) for line in text)
    assert [line[8:] for line in text] == [
        "resumed: 1 of 12 trials had ended, 2 continue from their last checkpoint, 1 are paused",
        "t001 epoch 4: best so far, validation Dice 0.7500",
    ]


def test_restored_lines_of_a_search_that_had_done_nothing(capsys):
    make_lines().restore({})
    assert said(capsys) == ["resumed: 0 of 12 trials had ended, 0 continue from their last checkpoint, 0 are paused"]


def test_lines_tell_the_time_left_once_it_is_known(capsys):
    lines = make_lines(num_lanes=1)
    first, second = progress(0, []), progress(1, [], phase=Phase.RUNNING)
    lines.on_end(first, State.FAILED, "odd")
    lines.on_leg(second)
    second.epochs = progress(1, [0.5]).epochs
    lines.on_epoch(second, second.epochs[1])
    lines.on_end(progress(1, [0.5]), State.PRUNED, None)
    before, _, after = said(capsys)
    assert "left" not in before
    assert re.search(r"\[2/12\] .*(about )?\d+ (s|min)( to \d+ (s|min))? left$", after)


def test_lines_can_be_pickled_as_tune_does():
    assert isinstance(pickle.loads(pickle.dumps(make_lines())), Lines)


def test_say_prints_names_unchanged_but_no_control_characters(capsys):
    say("[bold]肿瘤[/bold] \x1b[31m \x07 " + "x" * 200)
    assert capsys.readouterr().out == "[bold]肿瘤[/bold] �[31m � " + "x" * 200 + "\n"


@pytest.mark.parametrize(
    ("low", "middle", "high", "text"),
    [
        (100, 110, 119, "about 2 min left"),
        (600, 900, 1200, "10 min to 20 min left"),
        (0, 2, 4, "about 5 s left"),
        (3000, 3300, 7200, "50 min to 2 h left"),
    ],
)
def test_describe_left_by_hand(low, middle, high, text):
    assert describe_left(Estimate(seconds=middle, low_seconds=low, high_seconds=high)) == text


def test_lines_say_what_a_search_without_lanes_waits_for(capsys):
    board = make_board(num_lanes=4)
    lines = Lines(board, Path("runs/x"))
    lines.on_lanes(0, "all 4 GPUs are in use by other jobs")
    assert board.view().waits_for == "all 4 GPUs are in use by other jobs"
    lines.on_lanes(1, "other jobs hold 3 GPU")
    assert board.view().waits_for == ""
    lines.on_lanes(3)
    assert said(capsys) == [
        "waiting for resources: all 4 GPUs are in use by other jobs",
        "the cluster now has room for 1 trial at a time: other jobs hold 3 GPU",
        "the cluster now has room for 3 trials at a time instead of 1",
    ]


def test_lines_say_that_the_cluster_has_grown(tmp_path, capsys):
    board = make_board()
    before = board.plan.num_lanes
    Lines(board, tmp_path).on_lanes(7)
    assert board.plan.num_lanes == 7
    assert f"the cluster now has room for 7 trials at a time instead of {before}" in capsys.readouterr().out
