"""The Python API: what `import search` costs, and what a result says of an experiment's folder."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest

import search
from data.errors import UserError
from search.record.trials import State, TrialRow
from search.result import Result
from tests.support.experiments import DICES, search_rows, write_experiment
from tests.support.searching import make_searcher, samples_of
from tests.support.searching import search as search_with


def test_import_search_imports_no_library():
    heavy = ["numpy", "torch", "ray", "optuna", "pandas", "tyro"]
    code = f"import sys, search; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_search_offers_its_names_and_no_others():
    assert set(search.__all__) <= set(dir(search))
    assert all(callable(getattr(search, name)) for name in search.__all__)
    with pytest.raises(AttributeError, match="module 'search' has no attribute 'tuna'"):
        _ = search.tuna


def test_load_returns_the_trials_the_best_and_where_files_are(tmp_path):
    folder = write_experiment(tmp_path, "mine", dices=dict(DICES))
    result = search.load(str(folder))
    assert [row.number for row in result.rows] == [0, 1, 2, 3, 4, 5]
    assert result.best is not None
    assert result.best.trial.id == "t001"  # as metrics.json says
    assert result.best.metrics.test.num_patients == len(DICES)
    assert (result.folder, result.best.folder) == (folder, folder / "best")
    assert (result.report, result.study_file) == (folder / "report.html", folder / "optuna_journal.log")


def test_load_of_a_search_without_a_model_has_no_best(tmp_path):
    result = search.load(write_experiment(tmp_path, "mine"))
    assert result.best is None
    assert len(result.rows) == 6


def test_load_refuses_what_is_not_an_experiment(tmp_path):
    with pytest.raises(UserError, match="is not an experiment of this program"):
        search.load(tmp_path)


def test_load_refuses_damaged_metrics(tmp_path):
    folder = write_experiment(tmp_path, "mine", dices=dict(DICES))
    (folder / "best/metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"metrics\.json is damaged .*: python -m search\.promote writes it anew"):
        search.load(folder)


def test_load_says_when_the_table_lacks_the_promoted_trial(tmp_path):
    folder = write_experiment(tmp_path, "mine", rows=[], dices=dict(DICES))
    with pytest.raises(UserError, match=r"trials\.jsonl lacks trial t001, which was promoted"):
        search.load(folder)


def test_trials_have_a_row_for_each_by_hand(tmp_path):
    rows = search_rows()[:2]
    failed = TrialRow(
        number=2, state=State.FAILED, sample=rows[0].sample, epochs=(), seconds=0.0, error="ValueError: odd"
    )
    table = Result(folder=tmp_path, rows=(*rows, failed)).trials
    assert list(table.index) == ["t000", "t001", "t002"]
    assert list(table.state) == ["COMPLETE", "PRUNED", "FAILED"]
    assert table.val_dice["t000"] == rows[0].best_dice
    assert math.isnan(table.val_dice["t002"])
    assert list(table.best_epoch) == [3, 2, 0]
    assert list(table.epochs) == [3, 2, 0]
    assert table.seconds["t000"] == 6.0
    assert list(table.depth) == [row.sample["depth"] for row in (*rows, failed)]
    assert list(table.error.isna()) == [True, True, False]
    assert table.error["t002"] == "ValueError: odd"


def test_trials_have_a_gap_where_an_axis_has_no_effect(tmp_path):
    adam, sgd = search_rows()[:2]
    adam = replace(adam, sample={"optimizer": "adamw"})
    sgd = replace(sgd, sample={"optimizer": "sgd", "momentum": 0.5, "depth": 3})
    table = Result(folder=tmp_path, rows=(adam, sgd)).trials
    assert list(table.columns)[-4:] == ["optimizer", "momentum", "depth", "error"]
    assert list(table.momentum.isna()) == list(table.depth.isna()) == [True, False]
    assert (table.momentum["t001"], table.depth["t001"]) == (0.5, 3)


def test_trials_of_a_dry_run_have_columns_and_no_rows(tmp_path):
    table = Result(folder=tmp_path).trials
    assert (table.empty, table.index.name) == (True, "trial")
    assert list(table.columns) == ["state", "val_dice", "best_epoch", "epochs", "seconds", "error"]


def test_study_is_read_from_a_copy_and_cannot_be_changed(tmp_path):
    copy = tmp_path / "another_name"
    copy.mkdir()
    trained = search_with(make_searcher("random", study=copy / "optuna_journal.log", name="mine"), 3)
    written = (copy / "optuna_journal.log").read_bytes()
    study = Result(folder=copy).study
    assert study.study_name == "mine"
    assert [trial.params for trial in study.trials] == samples_of(trained)
    assert study.best_trial.number == 0
    with pytest.raises(UserError, match="can only be read"):
        study.ask()
    assert (copy / "optuna_journal.log").read_bytes() == written


@pytest.mark.parametrize(
    ("content", "message"), [(None, "there is no study .*a dry run has none"), (b"{\n{", "damaged")]
)
def test_study_names_what_is_wrong_with_its_file(tmp_path, content, message):
    if content is not None:
        (tmp_path / "optuna_journal.log").write_bytes(content)
    with pytest.raises(UserError, match=message):
        _ = Result(folder=tmp_path).study


def test_resume_refuses_a_change_that_trials_cannot_be_compared_over(tmp_path):
    folder = write_experiment(tmp_path, "mine")
    with pytest.raises(UserError, match="seed is 1, but was 0 when mine began"):
        search.resume(folder, seed=1)
