"""A search that is killed anywhere is resumed from its log to the same table."""

import itertools

import pytest

from data.errors import UserError
from search.coordination.trial_progress import Phase
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.scheduling.schedulers import SCHEDULERS
from tests.support.coordinated import MAX_EPOCHS, NAMES, closed_form, coordinator, run, table
from tests.support.simulation import simulate


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("missing", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_search_killed_anywhere_is_resumed_to_the_same_table(tmp_path, scheduler, missing):
    whole = tmp_path / "whole.jsonl"
    search, rows, _ = coordinator(log=whole, scheduler=scheduler)
    run(search)
    expected, lines = table(search, rows), whole.read_bytes().splitlines(keepends=True)
    for cut in range(0, len(lines), 3):
        log = tmp_path / f"{cut}.jsonl"
        log.write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
        search, rows, searcher = coordinator(log=log, scheduler=scheduler)
        search.restore(lambda number, s=search: max(0, s.trials[number].last_epoch - missing))
        run(search, num_missing=dict.fromkeys(search.trials, missing))
        assert table(search, rows) == expected, f"cut after event {cut}"
        states = [trial.state.name for trial in searcher._study._storage.get_all_trials(searcher._study._study_id)]
        assert states == [NAMES[rows.ended[number][0]] for number in range(12)]


def test_a_search_killed_twice_is_resumed(tmp_path):
    log = tmp_path / "log.jsonl"
    search, rows, _ = coordinator()
    run(search)
    expected = table(search, rows)
    for num_epochs in (5, 6, 100):
        search, rows, _ = coordinator(log=log)
        search.restore(lambda number, s=search: s.trials[number].last_epoch)
        for _ in itertools.islice(simulate(search, closed_form, max_epochs=MAX_EPOCHS), num_epochs):
            pass
    search.stop(None)
    assert table(search, rows) == expected


def test_a_complete_trial_is_not_trained_again_if_only_its_best_is_kept(tmp_path):
    log = tmp_path / "log.jsonl"
    search, rows, _ = coordinator(trials=1, scheduler="none", log=log)
    search.next_leg()
    for epoch, dice in ((1, 0.6), (2, 0.5)):
        search.report(0, EpochMetrics(epoch=epoch, val_dice=dice), finished=epoch == 2, failure=None)
    killed_before = log.read_bytes()
    search.end_leg(0)
    ended = log.read_bytes()
    for content, goes_on in ((ended, False), (killed_before, True)):  # the last checkpoint may not be on disk yet
        log.write_bytes(content)
        search, rows, _ = coordinator(trials=1, scheduler="none", log=log)
        search.restore(lambda number: 1)
        assert (search.next_leg() is not None) == goes_on
        assert (rows.ended == {0: (State.COMPLETE, 2, None)}) != goes_on


def test_a_trial_that_was_given_up_or_lost_stays_ended_after_a_resume(tmp_path):
    log = tmp_path / "log.jsonl"
    search, rows, _ = coordinator(trials=9, log=log, max_failures=0)
    for number, dice in ((0, 0.5), (1, 0.4)):
        search.next_leg()
        search.report(number, EpochMetrics(epoch=1, val_dice=dice), finished=False, failure=None)
        search.end_leg(number)
    search.give_up_worst("no room")
    search.next_leg()
    search.lose(2, "gone")
    search.end_leg(2)
    before = dict(rows.ended)
    search, rows, _ = coordinator(trials=9, log=log, max_failures=0)
    search.restore(lambda number: 1)
    assert rows.ended == before == {1: (State.PRUNED, 1, "no room"), 2: (State.FAILED, 0, "gone")}
    assert search.trials[0].phase == Phase.PAUSED


def test_a_log_of_another_version_is_refused(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"event": "dance", "number": 0}\n')
    search, _, _ = coordinator(log=log)
    with pytest.raises(UserError, match=r"event that this version does not know: 'dance'"):
        search.restore(lambda number: 0)
