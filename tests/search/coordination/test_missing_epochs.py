"""A killed search whose checkpoints know more than its log, as in a bucket, ends in the same table."""

import json

import pytest

from search.coordination.checkpoints import METRICS_FILE, STATE_FILE, Checkpoints, leg_name
from search.coordination.missing_epochs import log_missing_epochs
from search.record.checkpoint_record import CheckpointRecord
from search.record.epochs import EpochMetrics
from search.record.events import EpochEnded, read_events
from tests.support.coordinated import MAX_EPOCHS, coordinator, run, table

pytestmark = pytest.mark.slow


def write_newest(folder, number, history):
    """Write the newest checkpoint of a trial, with every epoch until it."""
    checkpoint = folder / leg_name(number, 1) / "checkpoint_000000"
    checkpoint.mkdir(parents=True)
    (checkpoint / STATE_FILE).write_bytes(b"state")
    record = CheckpointRecord(metrics=history[-1], history=tuple(history))
    (checkpoint / METRICS_FILE).write_text(json.dumps(record.to_json()))
    return checkpoint / STATE_FILE


def write_all(folder, log):
    """Write the newest checkpoint of every trial in a log."""
    histories = {}
    for event in read_events(log):
        if isinstance(event, EpochEnded):
            histories.setdefault(event.number, []).append(event.metrics)
    for number, history in histories.items():
        write_newest(folder, number, history)


@pytest.mark.parametrize("scheduler", ["none", "asha"])
@pytest.mark.parametrize("num_lost", [1, 2, 3])
def test_events_that_a_kill_has_lost_do_not_change_the_table(tmp_path, scheduler, num_lost):
    whole = tmp_path / "whole.jsonl"
    search, rows, _ = coordinator(log=whole, scheduler=scheduler)
    run(search)
    expected, lines = table(search, rows), whole.read_bytes().splitlines(keepends=True)
    num_added = 0
    for cut in range(1, len(lines) - num_lost, 2):
        written, log, folder = (tmp_path / f"{cut}{name}" for name in ("written", "log", "ray"))
        written.write_bytes(b"".join(lines[: cut + num_lost]))
        write_all(folder, written)
        log.write_bytes(b"".join(lines[:cut]))
        checkpoints = Checkpoints(folder)
        log_missing_epochs(log, checkpoints)
        num_added += len(read_events(log)) > cut
        search, rows, _ = coordinator(log=log, scheduler=scheduler)
        search.restore(checkpoints.last_epoch)
        # A training that is over repeats its last epoch, which is how the driver learns that it is over.
        over = [number for number, trial in search.trials.items() if trial.last_epoch == MAX_EPOCHS]
        run(search, num_missing=dict.fromkeys(over, 1))
        assert table(search, rows) == expected, f"cut after event {cut}"
    assert num_added > 10


def test_checkpoints_of_a_trial_that_the_log_does_not_know_are_removed(tmp_path):
    log = tmp_path / "log.jsonl"
    search, _, _ = coordinator(log=log)
    search.next_leg()
    epochs = [EpochMetrics(epoch=1, val_dice=0.5)]
    known, unknown = (write_newest(tmp_path / "ray", number, epochs) for number in (0, 1))
    log_missing_epochs(log, Checkpoints(tmp_path / "ray"))
    assert known.exists()
    assert not unknown.exists()


def test_log_that_knows_every_epoch_stays_as_it_is(tmp_path):
    log = tmp_path / "log.jsonl"
    search, _, _ = coordinator(log=log)
    search.next_leg()
    search.report(0, EpochMetrics(epoch=1, val_dice=0.5), finished=False, failure=None)
    write_newest(tmp_path / "ray", 0, [EpochMetrics(epoch=1, val_dice=0.5)])
    before = log.read_bytes()
    log_missing_epochs(log, Checkpoints(tmp_path / "ray"))
    assert log.read_bytes() == before
