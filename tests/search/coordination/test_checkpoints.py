"""Checkpoints on disk: the best and the newest are found over several legs, and only those stay."""

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from search.coordination.checkpoints import METRICS_FILE, STATE_FILE, Checkpoints, leg_name

NUM_STATE_BYTES = 100


def write_checkpoint(folder: Path, leg: str, epoch: int, dice: float | None, *, state: bool = True) -> Path:
    """Return the state file of a checkpoint that Tune wrote in a leg; Tune counts from 0 in each of them."""
    number = len(list(folder.glob(f"{leg}/checkpoint_*")))
    checkpoint = folder / leg / f"checkpoint_{number:06d}"
    checkpoint.mkdir(parents=True)
    if state:
        (checkpoint / STATE_FILE).write_bytes(bytes(NUM_STATE_BYTES))
    metrics = {"epoch": epoch} if dice is None else {"epoch": epoch, "val_dice": dice}
    (checkpoint / METRICS_FILE).write_text(json.dumps(metrics | {"history": []}))
    return checkpoint / STATE_FILE


def write_legs(folder: Path, *legs: Mapping[int, float | None], number: int = 0) -> dict[int, Path]:
    """Return the state files by epoch of a trial's legs, each of them given as Dice by epoch."""
    return {
        epoch: write_checkpoint(folder, leg_name(number, index), epoch, dice)
        for index, leg in enumerate(legs, start=1)
        for epoch, dice in leg.items()
    }


def on_disk(folder: Path) -> set[Path]:
    return set(folder.glob(f"*/*/{STATE_FILE}"))


def test_checkpoints_of_a_trial_that_has_none(tmp_path):
    checkpoints = Checkpoints(tmp_path / "nowhere")
    assert checkpoints.newest(0) is None
    assert checkpoints.best(0) is None
    assert checkpoints.last_epoch(0) == 0
    assert checkpoints.next_leg(0) == "t000-1"
    checkpoints.tidy(0, keep_newest=True)
    checkpoints.drop(0)
    assert checkpoints.total_bytes == 0


def test_newest_is_the_last_epoch_of_all_legs(tmp_path):
    files = write_legs(tmp_path, {1: 0.5}, {2: 0.6, 3: 0.4}, {4: None})
    assert Checkpoints(tmp_path).newest(0) == files[4]
    assert Checkpoints(tmp_path).last_epoch(0) == 4


def test_newest_is_by_epoch_not_by_leg(tmp_path):
    # After a crash the last leg may have begun before the last epoch of the one before.
    files = write_legs(tmp_path, {9: 0.5, 10: 0.5}, {8: 0.5})
    assert Checkpoints(tmp_path).newest(0) == files[10]
    assert Checkpoints(tmp_path).last_epoch(0) == 10


def test_newest_may_be_in_the_middle_of_an_epoch_and_is_then_never_best(tmp_path):
    files = write_legs(tmp_path, {6: 0.5, 7: 0.4})
    middle, later = (write_checkpoint(tmp_path, "t000-2", 7, None) for _ in range(2))
    for file, num_batches in ((middle, 40), (later, 80)):
        file.with_name(METRICS_FILE).write_text(json.dumps({"epoch": 7, "num_batches": num_batches, "history": []}))
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest(0) == later
    assert checkpoints.best(0) == files[6]
    assert checkpoints.last_epoch(0) == 7
    checkpoints.tidy(0, keep_newest=True)
    assert on_disk(tmp_path) == {files[6], later}
    assert checkpoints.next_leg(0) == "t000-3"
    [whole] = write_legs(tmp_path, {}, {}, {8: 0.3}).values()
    assert checkpoints.newest(0) == whole
    checkpoints.tidy(0, keep_newest=True)
    assert on_disk(tmp_path) == {files[6], whole}


def test_a_trial_without_legs_has_no_checkpoints_of_others(tmp_path):
    write_legs(tmp_path, {1: 0.5}, number=3)
    checkpoints = Checkpoints(tmp_path)
    assert (checkpoints.newest(0), checkpoints.last_epoch(0), checkpoints.next_leg(0)) == (None, 0, "t000-1")
    assert (checkpoints.last_epoch(3), checkpoints.next_leg(3)) == (1, "t003-2")


def test_newest_before_the_first_epoch_has_ended(tmp_path):
    file = write_checkpoint(tmp_path, "t000-1", 0, None)
    file.with_name(METRICS_FILE).write_text(json.dumps({"epoch": 0, "num_batches": 3, "history": []}))
    checkpoints = Checkpoints(tmp_path)
    assert (checkpoints.newest(0), checkpoints.best(0), checkpoints.last_epoch(0)) == (file, None, 0)


def test_best_is_the_best_of_all_legs_and_the_earlier_among_equals(tmp_path):
    files = write_legs(tmp_path, {1: 0.1, 2: math.nan}, {3: 0.6, 4: 0.3}, {5: 0.6, 6: None, 7: math.inf})
    assert Checkpoints(tmp_path).best(0) == files[3]


@pytest.mark.parametrize("dice", [math.nan, None])
def test_best_without_a_finite_score_is_none(tmp_path, dice):
    files = write_legs(tmp_path, {1: dice})
    assert Checkpoints(tmp_path).best(0) is None
    assert Checkpoints(tmp_path).newest(0) == files[1]  # it can go on all the same


def test_checkpoints_are_those_of_one_trial(tmp_path):
    one, ten = write_legs(tmp_path, {1: 0.25}, number=1), write_legs(tmp_path, {1: 0.5, 2: 0.75}, number=10)
    thousand = write_legs(tmp_path, {1: 0.5, 2: 0.25, 3: 0.125}, number=1000)
    checkpoints = Checkpoints(tmp_path)
    assert [checkpoints.newest(number) for number in (1, 10, 1000)] == [one[1], ten[2], thousand[3]]
    assert [checkpoints.best(number) for number in (1, 10, 1000)] == [one[1], ten[2], thousand[1]]
    checkpoints.drop(1)
    checkpoints.tidy(10, keep_newest=False)
    assert on_disk(tmp_path) == {ten[2], *thousand.values()}


def test_checkpoints_pass_over_metrics_that_were_cut_off_anywhere(tmp_path):
    files = write_legs(tmp_path, {1: 0.4, 2: 0.8})
    metrics = files[2].with_name(METRICS_FILE)
    content = metrics.read_text()
    for length in range(len(content)):
        metrics.write_text(content[:length])
        assert Checkpoints(tmp_path).best(0) == files[1]
        assert Checkpoints(tmp_path).newest(0) == files[1]
        assert Checkpoints(tmp_path).last_epoch(0) == 1
    metrics.write_text(content)
    assert Checkpoints(tmp_path).best(0) == files[2]


@pytest.mark.parametrize("missing", [STATE_FILE, METRICS_FILE])
def test_checkpoints_pass_over_one_without_both_its_files(tmp_path, missing):
    files = write_legs(tmp_path, {1: 0.4}, {2: 0.8})
    files[2].with_name(missing).unlink()
    assert Checkpoints(tmp_path).best(0) == files[1]
    assert Checkpoints(tmp_path).newest(0) == files[1]
    assert Checkpoints(tmp_path).last_epoch(0) == 1


@pytest.mark.parametrize("keep_newest", [True, False])
def test_tidy_keeps_the_best_and_the_newest_of_all_legs(tmp_path, keep_newest):
    files = write_legs(tmp_path, {1: 0.5, 2: 0.9}, {3: 0.4, 4: 0.3}, {5: 0.2})
    broken = write_checkpoint(tmp_path, "t000-3", 6, 0.99, state=False).parent
    checkpoints = Checkpoints(tmp_path)
    checkpoints.tidy(0, keep_newest=keep_newest)
    assert on_disk(tmp_path) == ({files[2], files[5]} if keep_newest else {files[2]})
    assert not broken.exists()
    assert checkpoints.best(0) == files[2]
    assert checkpoints.last_epoch(0) == (5 if keep_newest else 2)


@pytest.mark.parametrize("seed", range(5))
def test_tidy_changes_neither_the_best_nor_the_newest(tmp_path, seed):
    generator = random.Random(seed)
    dices = [generator.choice([0.2, 0.4, math.nan]) for _ in range(8)]
    cut = generator.randrange(1, 7)
    legs = dict(enumerate(dices[:cut], start=1)), dict(enumerate(dices[cut:], start=cut + 1))
    write_legs(tmp_path, *legs)
    checkpoints = Checkpoints(tmp_path)
    before = checkpoints.best(0), checkpoints.newest(0)
    checkpoints.tidy(0, keep_newest=True)
    assert (checkpoints.best(0), checkpoints.newest(0)) == before
    assert on_disk(tmp_path) == {file for file in before if file}


def test_tidy_keeps_nothing_of_an_ended_trial_without_a_score(tmp_path):
    write_legs(tmp_path, {1: math.nan})
    Checkpoints(tmp_path).tidy(0, keep_newest=False)
    assert on_disk(tmp_path) == set()


def test_next_leg_returns_no_name_twice_even_after_a_drop(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for index in (1, 2, 3):
        assert checkpoints.next_leg(7) == f"t007-{index}"
        write_legs(tmp_path, *[{}] * (index - 1), {index: 0.5}, number=7)
    checkpoints.tidy(7, keep_newest=True)
    assert checkpoints.next_leg(7) == "t007-4"
    checkpoints.drop(7)
    assert checkpoints.next_leg(7) == "t007-5"
    assert checkpoints.next_leg(8) == "t008-1"
    assert Checkpoints(tmp_path).next_leg(7) == "t007-6"


def test_drop_leaves_no_checkpoint(tmp_path):
    write_legs(tmp_path, {1: 0.5}, {2: 0.9})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.drop(0)
    assert on_disk(tmp_path) == set()
    assert (checkpoints.newest(0), checkpoints.best(0), checkpoints.last_epoch(0)) == (None, None, 0)


def test_total_bytes_are_of_what_was_kept(tmp_path):
    files = write_legs(tmp_path, {1: 0.9, 2: 0.5}, {3: 0.1}) | {
        number: write_legs(tmp_path, {1: 0.5}, number=number)[1] for number in (11, 12)
    }
    each = NUM_STATE_BYTES + files[1].with_name(METRICS_FILE).stat().st_size
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.total_bytes == 0
    checkpoints.tidy(0, keep_newest=True)
    assert checkpoints.total_bytes == 2 * each
    checkpoints.tidy(11, keep_newest=True)  # its best is its newest
    checkpoints.tidy(12, keep_newest=False)
    assert checkpoints.total_bytes == 4 * each
    checkpoints.tidy(0, keep_newest=False)
    assert checkpoints.total_bytes == 3 * each
    checkpoints.drop(11)
    checkpoints.drop(11)
    assert checkpoints.total_bytes == 2 * each
