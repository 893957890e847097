"""Accidents in which random sequences of events (test_random_events.py) have shown faults, each in a short form."""

import json
import os
from pathlib import Path

import pytest

from search.coordination.checkpoints import METRICS_FILE, STATE_FILE, Checkpoints, leg_name
from search.coordination.coordinator import Coordinator
from search.coordination.missing_epochs import log_missing_epochs
from search.record.checkpoint_record import CheckpointRecord
from search.record.epochs import EpochMetrics
from search.record.trials import State
from tests.support.coordinated import MAX_EPOCHS, coordinator, next_leg
from tests.support.fakes import Rows

RUNGS = 1, 3
"""The epochs after which the trials of `coordinator` are compared."""


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def ray(tmp_path) -> Path:
    return tmp_path / "ray"


def report(search: Coordinator, epoch: int, dice: float = 0.5) -> bool:
    """Return whether the only trial continues after an epoch, which ends its training if it is the last one."""
    metrics = EpochMetrics(epoch=epoch, val_dice=dice)
    return search.report(0, metrics, finished=epoch == MAX_EPOCHS, failure=None)


def write(ray: Path, dices: list[float], **end) -> None:
    """Write the only trial's checkpoint after as many epochs, whose description says how training ended, if it did."""
    folder = ray / leg_name(0, 1) / f"checkpoint_{len(dices):06d}"
    folder.mkdir(parents=True)
    history = tuple(EpochMetrics(epoch=epoch, val_dice=dice) for epoch, dice in enumerate(dices, start=1))
    (folder / STATE_FILE).write_bytes(b"state")
    record = CheckpointRecord(metrics=history[-1], history=history, **end)
    (folder / METRICS_FILE).write_text(json.dumps(record.to_json()))


def resume(log: Path, ray: Path, *, scheduler: str = "asha") -> tuple[Coordinator, Rows]:
    """Return the search of one trial, and how the trial ended, after a start from what is on disk."""
    search, rows, _ = coordinator(trials=1, scheduler=scheduler, log=log)
    checkpoints = Checkpoints(ray)
    log_missing_epochs(log, checkpoints)
    search.restore(checkpoints.last_epoch)
    return search, rows


def train_past_the_first_rung(search: Coordinator) -> None:
    """Train the only trial to epoch 2."""
    next_leg(search)
    assert not report(search, 1)
    search.end_leg(0)
    next_leg(search)
    assert report(search, 2)


def train_to_the_end(search: Coordinator, rows: Rows, first: int) -> None:
    """Train the only trial from an epoch on, and check that it ends once and is not handed out again."""
    leg = next_leg(search)
    for epoch in range(first, MAX_EPOCHS + 1):
        if not report(search, epoch):
            search.end_leg(leg.number)
            assert epoch == MAX_EPOCHS or next_leg(search) == leg
    assert search.next_leg() is None
    assert search.is_finished
    assert rows.ended == {0: (State.COMPLETE, MAX_EPOCHS, None)}


def test_a_trial_whose_lane_dies_on_a_rung_is_promoted_before_it_continues():
    search, rows, _ = coordinator(trials=1)
    train_past_the_first_rung(search)
    assert not report(search, RUNGS[1])
    search.lose(0, "the lane died when it had written the checkpoint")
    search.end_leg(0)
    train_to_the_end(search, rows, RUNGS[1] + 1)


def test_a_trial_whose_checkpoint_is_beyond_a_rung_of_the_log_counts_as_promoted(log, ray):
    search, _, _ = coordinator(trials=1, log=log)
    train_past_the_first_rung(search)
    write(ray, [0.5] * (RUNGS[1] + 1))
    search, rows = resume(log, ray)
    train_to_the_end(search, rows, RUNGS[1] + 2)


@pytest.mark.parametrize(
    ("dice", "failure", "ended"),
    [
        (0.5, None, (State.COMPLETE, 1, None)),
        (float("nan"), "train_loss was nan in epoch 1", (State.FAILED, 1, "train_loss was nan in epoch 1")),
    ],
)
def test_a_training_that_was_over_is_over_even_if_only_its_checkpoint_says_so(log, ray, dice, failure, ended):
    search, _, _ = coordinator(trials=1, log=log)
    next_leg(search)
    write(ray, [dice], finished=True, failure=failure)
    search, rows = resume(log, ray)
    assert rows.ended == {0: ended}
    assert search.next_leg() is None


def test_a_complete_trial_stays_so_however_often_the_search_is_resumed(log, ray):
    search, _, _ = coordinator(trials=1, scheduler="none", log=log)
    next_leg(search)
    dices = [0.9, *[0.5] * (MAX_EPOCHS - 1)]
    for epoch, dice in enumerate(dices, start=1):
        report(search, epoch, dice)
    write(ray, dices[:1])
    write(ray, dices)
    for _ in range(2):  # killed before the end of the trial was logged
        search, rows = resume(log, ray, scheduler="none")
        assert rows.ended == {0: (State.COMPLETE, MAX_EPOCHS, None)}
        Checkpoints(ray).tidy(0, keep_newest=False)  # as when a trial ends: the best one is left, of epoch 1


def test_a_crash_of_the_machine_cannot_undo_that_a_leg_began_or_a_trial_ended(log, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (real(file), synced.append(os.fstat(file).st_size)))
    search, _, _ = coordinator(trials=3, log=log)
    for number, dice in enumerate((0.5, 0.4, 0.3)):
        next_leg(search)
        assert synced[-1] == log.stat().st_size
        search.report(number, EpochMetrics(epoch=1, val_dice=dice), finished=False, failure=None)
        search.end_leg(number)
    assert search.give_up_worst("no room")
    assert synced[-1] == log.stat().st_size
