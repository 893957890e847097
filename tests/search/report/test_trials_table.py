"""The report's table of trials: its order, its columns, and what its cells show."""

from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.report.trials_table import trials_table
from tests.support.fakes import trial_row

AXES = ["learning_rate", "depth"]


def cells_of(table, trial):
    [cells] = [cells for id, cells in table.rows if id == trial]
    return {column.label: cell for column, cell in zip(table.columns, cells, strict=True)}


def test_trials_table_has_the_best_first_and_trials_without_a_score_last():
    rows = [trial_row(0, [0.25]), trial_row(1, [], state=State.FAILED), trial_row(2, [0.5, 0.75])]
    assert [id for id, _ in trials_table(rows, AXES).rows] == ["t002", "t000", "t001"]


def test_trials_table_shows_rounded_numbers_and_sorts_by_exact_ones():
    cells = cells_of(trials_table([trial_row(0, [0.123456789])], AXES), "t000")
    assert (cells["best Dice"].text, cells["best Dice"].sort_value) == ("0.1235", 0.123456789)
    assert (cells["at epoch"].text, cells["epochs"].text) == ("1", "1")


def test_trials_table_has_dashes_where_a_trial_has_no_score():
    cells = cells_of(trials_table([trial_row(0, [], state=State.FAILED, error="raised")], AXES), "t000")
    assert (cells["best Dice"].text, cells["best Dice"].sort_value, cells["at epoch"].text) == ("-", None, "-")
    assert cells["reason"].text == "raised"


def test_trials_table_has_a_column_for_each_axis_and_for_measured_costs():
    labels = [column.label for column in trials_table([trial_row(0, [0.5])], AXES).columns]
    assert labels[6:] == ["learning_rate", "depth", "reason"]
    epochs = (EpochMetrics(epoch=1, val_dice=0.5, seconds=1.0, latency_ms=2.5),)
    table = trials_table([trial_row(0, [], epochs=epochs)], AXES)
    assert [column.label for column in table.columns][6:] == ["latency (ms)", "learning_rate", "depth", "reason"]
    assert cells_of(table, "t000")["latency (ms)"].text == "2.5"


def test_trials_table_has_a_column_for_each_region():
    epochs = (EpochMetrics(epoch=1, val_dice=0.5, others={"val_dice_WT": 0.75, "val_dice_ET": 0.25}),)
    table = trials_table([trial_row(0, [], epochs=epochs), trial_row(1, [])], AXES)
    assert [column.label for column in table.columns][2:5] == ["best Dice", "Dice of WT", "Dice of ET"]
    assert (cells_of(table, "t000")["Dice of ET"].text, cells_of(table, "t001")["Dice of ET"].text) == ("0.2500", "-")


def test_table_marks_the_default():
    table = trials_table([trial_row(0, [0.5]), trial_row(1, [0.6])], AXES, default_trial=0)
    assert [cells[0].text for _, cells in table.rows] == ["t001", "t000 (default)"]
