"""The table of trials: nothing lost in a crash, nothing counted twice, and the best where it should be."""

import json
import math
import random

import pytest

from data.errors import UserError
from search.record.epochs import EpochMetrics
from search.record.trials import State, append_row, best_first, count_states, read_rows, trial_id
from tests.support.fakes import trial_row


def test_read_rows_gives_what_was_appended(tmp_path):
    rows = [
        trial_row(0, [0.25, 0.5], checkpoint="ray/t000/checkpoint_000001/checkpoint.pt"),
        trial_row(1, [], state=State.FAILED, error="RuntimeError: one line\nand \u00e4nother"),
        trial_row(2, [1 / 3], state=State.PRUNED),
    ]
    for row in rows:
        append_row(tmp_path / "trials.jsonl", row)
    read = read_rows(tmp_path / "trials.jsonl")
    assert read == rows
    assert all(isinstance(row.state, State) for row in read)
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 3


def test_read_rows_of_no_table_are_none(tmp_path):
    assert read_rows(tmp_path / "trials.jsonl") == []


def test_read_rows_are_in_the_order_of_numbers_whatever_the_order_of_writing(tmp_path):
    numbers = list(range(12))
    random.Random(3).shuffle(numbers)
    for number in numbers:
        append_row(tmp_path / "trials.jsonl", trial_row(number, [0.1]))
    assert [row.number for row in read_rows(tmp_path / "trials.jsonl")] == list(range(12))


def test_append_row_after_one_that_was_cut_off_leaves_it_out(tmp_path):
    path = tmp_path / "trials.jsonl"
    for number in (0, 1):
        append_row(path, trial_row(number, [0.5]))
    path.write_bytes(path.read_bytes()[:-20])
    assert [row.number for row in read_rows(path)] == [0]
    append_row(path, trial_row(2, [0.75]))
    assert [row.number for row in read_rows(path)] == [0, 2]


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, "id"),
        ({}, "number"),
        ({}, "sample"),
        ({"state": "PAUSED"}, ""),
        ({"value": 0.5}, ""),
    ],
    ids=["no id", "no number", "no sample", "unknown state", "unknown key"],
)
def test_read_rows_refuse_a_line_that_is_not_a_trial(tmp_path, changes, missing):
    path = tmp_path / "trials.jsonl"
    append_row(path, trial_row(0, [0.5]))
    values = json.loads(path.read_text()) | changes
    values.pop(missing, None)
    path.write_text(json.dumps(values) + "\n")
    append_row(path, trial_row(1, [0.5]))
    with pytest.raises(UserError, match=rf"^{path}, line 1: "):
        read_rows(path)


def test_read_rows_name_a_line_that_is_not_even_an_object(tmp_path):
    path = tmp_path / "trials.jsonl"
    append_row(path, trial_row(0, [0.5]))
    with path.open("a") as file:
        file.write("[0]\n")
    with pytest.raises(UserError, match=f"^{path}, line 2, is not a JSON object$"):
        read_rows(path)


def test_read_rows_take_the_last_of_double_rows(tmp_path):
    path = tmp_path / "trials.jsonl"
    for row in (trial_row(0, [0.1], state=State.PRUNED), trial_row(1, [0.2]), trial_row(0, [0.1, 0.3])):
        append_row(path, row)
    assert read_rows(path) == [trial_row(0, [0.1, 0.3]), trial_row(1, [0.2])]


def test_row_with_nan_survives_the_table_and_has_its_best_finite_epoch(tmp_path):
    append_row(tmp_path / "trials.jsonl", trial_row(0, [0.2, 0.4, math.nan, 0.4]))
    [row] = read_rows(tmp_path / "trials.jsonl")
    assert math.isnan(row.epochs[2].val_dice)
    assert row.best_dice == 0.4
    assert row.best_epoch_number == 2  # the earlier among equals


@pytest.mark.parametrize(
    "epochs", [[], [EpochMetrics(epoch=1, train_loss=math.nan)], [EpochMetrics(epoch=1, val_dice=math.inf)]]
)
def test_row_without_a_finite_dice_has_no_best(epochs):
    row = trial_row(0, [], epochs=epochs)
    assert row.best_epoch is None
    assert math.isnan(row.best_dice)


def test_best_first_is_by_dice_then_by_number_without_those_that_have_none():
    rows = [
        trial_row(0, [0.5]),
        trial_row(1, [math.nan]),
        trial_row(2, [0.7, 0.1]),
        trial_row(3, [0.5]),
        trial_row(4, []),
    ]
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        assert [row.number for row in best_first(rows)] == [2, 0, 3]


def test_count_states_names_those_that_none_has():
    rows = [trial_row(n, [], state=state) for n, state in enumerate((State.PRUNED, State.FAILED, State.PRUNED))]
    assert count_states(rows) == {State.COMPLETE: 0, State.PRUNED: 2, State.FAILED: 1}


def test_trial_id_sorts_as_its_number():
    assert [trial_id(number) for number in (0, 7, 123, 1234)] == ["t000", "t007", "t123", "t1234"]
