"""The Python API: what `import search` costs, and what a result says of an experiment's folder."""

import math
import subprocess
import sys

import pytest

import search
from data.errors import UserError
from search.record.trials import State, TrialRow
from search.result import Result
from tests.support.experiments import DICES, search_rows, write_experiment


def test_import_search_imports_no_library():
    heavy = ["numpy", "torch", "ray", "optuna", "pandas", "tyro"]
    code = f"import sys, search; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_search_offers_its_names_and_no_others():
    assert set(search.__all__) <= set(dir(search))
    assert all(callable(getattr(search, name)) for name in search.__all__)
    with pytest.raises(AttributeError, match="module 'search' has no attribute 'tuna'"):
        _ = search.tuna


def test_load_returns_the_trials_the_winner_and_where_files_are(tmp_path):
    folder = write_experiment(tmp_path, "mine", dices=dict(DICES))
    result = search.load(str(folder))
    assert [row.number for row in result.trials] == [0, 1, 2, 3, 4, 5]
    assert result.winner is not None
    assert result.winner.id == "t001"  # as metrics.json says
    assert result.metrics is not None
    assert result.metrics.test.num_patients == len(DICES)
    assert (result.folder, result.model) == (folder, folder / "best")
    assert (result.report, result.study) == (folder / "report.html", folder / "optuna_journal.log")


def test_load_of_a_search_without_a_model_has_no_winner(tmp_path):
    result = search.load(write_experiment(tmp_path, "mine"))
    assert (result.winner, result.metrics, result.model) == (None, None, None)
    assert len(result.trials) == 6


def test_load_refuses_what_is_not_an_experiment(tmp_path):
    with pytest.raises(UserError, match="is not an experiment of this program"):
        search.load(tmp_path)


def test_load_refuses_damaged_metrics(tmp_path):
    folder = write_experiment(tmp_path, "mine", dices=dict(DICES))
    (folder / "best/metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"metrics\.json is damaged .*: python -m search\.promote writes it anew"):
        search.load(folder)


def test_table_has_a_row_for_each_trial_by_hand(tmp_path):
    rows = search_rows()[:2]
    failed = TrialRow(
        number=2, state=State.FAILED, sample=rows[0].sample, epochs=(), seconds=0.0, error="ValueError: odd"
    )
    table = Result(folder=tmp_path, trials=(*rows, failed)).table()
    assert list(table.index) == ["t000", "t001", "t002"]
    assert list(table.state) == ["COMPLETE", "PRUNED", "FAILED"]
    assert table.val_dice["t000"] == rows[0].best_dice
    assert math.isnan(table.val_dice["t002"])
    assert list(table.best_epoch) == [3, 2, 0]
    assert list(table.epochs) == [3, 2, 0]
    assert table.seconds["t000"] == 6.0
    assert list(table.depth) == [row.sample["depth"] for row in (*rows, failed)]
    assert table.error["t002"] == "ValueError: odd"


def test_table_without_trials_is_empty(tmp_path):
    assert Result(folder=tmp_path).table().empty


def test_resume_refuses_a_change_that_trials_cannot_be_compared_over(tmp_path):
    folder = write_experiment(tmp_path, "mine")
    with pytest.raises(UserError, match="seed is 1, but was 0 when mine began"):
        search.resume(folder, seed=1)
