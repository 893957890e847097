"""The tables of a comparison."""

import json
from dataclasses import replace

import numpy as np
import pytest

from search.record.trials import State
from tests.search.compare.reference import cells, tables_of
from tests.support.experiments import SPLIT, search_rows, write_experiment
from tests.support.fakes import trial_row


def test_tables_show_the_scores(two):
    found = cells(tables_of(two, "a", "b")["scores"])
    assert found["promoted model, test Dice"] == ("0.6094", "-")
    assert found["95 % interval"] == ("0.5000 to 0.7500", "-")
    assert found["test patients"] == ("8", "-")
    best = max(search_rows(), key=lambda row: row.best_dice)
    assert best.best_epoch is not None
    assert found["best validation Dice"][0] == f"{best.best_dice:.4f} ({best.id}, epoch {best.best_epoch.epoch})"
    median = np.median([row.best_dice for row in search_rows(4, seed=1)])
    assert found["median validation Dice"][1] == f"{median:.4f} (4 trials)"


def test_tables_show_the_budgets(two):
    found = cells(tables_of(two, "a", "b")["budget"])
    assert found == {
        "state": ("promoted", "interrupted"),
        "trials ended": ("6 of 6", "5 of 6"),
        "COMPLETE / PRUNED / FAILED": ("3 / 3 / 0", "2 / 2 / 1"),
        "epochs": ("15", "10"),
        "wall clock": ("30 s", "40 s"),
        "training time": ("30 s", "41 s"),
        "lanes x workers": ("1 x 1, each 2 CPU", "1 x 1, each 2 CPU"),
    }


def test_tables_compare_the_best_dice_at_fractions_of_the_smaller_budget(two):
    found = cells(tables_of(two, "a", "b")["efficiency"])
    assert list(found) == [
        *(f"after {n} epochs" for n in (2, 5, 8, 10, 15)),
        *(f"after {s} s" for s in (8, 15, 22, 30, 40)),
    ]
    assert (found["after 15 epochs"][1], found["after 40 s"][0]) == ("-", "-")  # b had 10 epochs, a had 30 seconds
    rows = search_rows()
    known = [epoch.val_dice for row in rows for epoch in row.epochs]
    assert found["after 5 epochs"][0] == f"{max(known[:5]):.4f}"
    assert found["after 8 s"][0] == f"{max(known[:3]):.4f}"  # 7.5 s: three epochs of two seconds


def test_tables_show_the_best_trial_where_no_model_was_promoted(two):
    table = tables_of(two, "a", "b")["winners"]
    best = max(search_rows(4, seed=1), key=lambda row: row.best_dice)
    assert cells(table)["winner"] == ("t001", best.id)
    assert cells(table)["depth"] == ("3", str(best.sample["depth"]))
    assert cells(table)["threshold"] == ("0.5", "-")
    assert table.notes == ("No model was promoted in b: the trial with the best validation Dice is shown.",)


def test_tables_show_fixed_hyperparameters_of_a_winner(tmp_path):
    write_experiment(tmp_path, "a", config={"width": 24})
    row = search_rows(1)[0]
    wide = replace(row, sample=row.sample | {"width": 8, "norm": "batch"})
    write_experiment(tmp_path, "b", rows=[wide], config={"space": "wide"})
    found = cells(tables_of(tmp_path, "a", "b")["winners"])
    assert (found["width"], found["norm"]) == (("24", "8"), ("instance", "batch"))
    assert "weight_decay" not in found  # of no trial an axis


def test_tables_list_only_options_that_differ(two):
    tables = tables_of(two, "a", "b")
    assert cells(tables["options"]) == {"searcher": ("prior_gp", "random"), "seed": ("0", "1")}
    assert tables["data"].rows == ()
    assert tables["data"].notes == ("None: the pixels and the split are the same.",)
    assert tables["environment"].rows == ()


EARLIER = {"sample": {"depth": 3}, "values": {"1": 0.5}, "state": "COMPLETE"}


def test_tables_list_data_versions_and_axes_that_differ(tmp_path):
    write_experiment(tmp_path, "a", run={"known": {"earlier": [EARLIER] * 2, "first": []}})
    write_experiment(
        tmp_path,
        "b",
        data={"split": SPLIT | {"test": ["X", *SPLIT["test"][1:]]}, "source": "elsewhere", "skipped": ["x"]},
        run={
            "space": {"learning_rate": "0.0001 to 0.01, log", "width": "one of 8, 16"},
            "versions": {"torch": "9", "ray": "4.5.6", "optuna": "7.8.9"},
            "commit": None,
        },
    )
    tables = tables_of(tmp_path, "a", "b")
    options = cells(tables["options"])
    assert options["trials of earlier searches"] == ("2", "0")
    assert (options["space.width"], options["space.depth"]) == (("-", "one of 8, 16"), ("2 to 5", "-"))
    assert "space.learning_rate" not in options
    assert cells(tables["data"]) == {
        "source": ("kaggle_3m", "elsewhere"),
        "excluded files": ("0", "1"),
        "test": ("8 patients, 7 of them in every experiment", "8 patients, 7 of them in every experiment"),
    }
    assert cells(tables["environment"]) == {"commit": ("c0ffee", "none"), "versions.torch": ("1.2.3", "9")}


def test_tables_say_when_validation_dice_cannot_be_compared(tmp_path):
    write_experiment(tmp_path, "a")
    write_experiment(tmp_path, "b", data={"split": SPLIT | {"val": ["V1"]}})
    write_experiment(tmp_path, "c")
    assert any("cannot be compared" in note for note in tables_of(tmp_path, "a", "b")["scores"].notes)
    assert not any("cannot be compared" in note for note in tables_of(tmp_path, "a", "c")["scores"].notes)


def test_tables_of_experiments_that_have_just_started(tmp_path):
    write_experiment(tmp_path, "a", rows=[])
    write_experiment(tmp_path, "b", rows=[trial_row(0, [], state=State.FAILED, error="raised")])
    tables = tables_of(tmp_path, "a", "b")
    assert cells(tables["scores"])["best validation Dice"] == ("-", "-")
    assert tables["efficiency"].rows == tables["winners"].rows == tables["importance"].rows == ()
    assert cells(tables["budget"])["wall clock"] == ("0 s", "0 s")


def test_tables_show_importances_if_there_are_enough_trials(tmp_path):
    write_experiment(tmp_path, "a", rows=search_rows(40), config={})
    write_experiment(tmp_path, "b")
    table = tables_of(tmp_path, "a", "b")["importance"]
    found = cells(table)
    assert set(found) == {"learning_rate", "depth", "dropout", "bce_weight"}
    assert all(other == "-" for _, other in found.values())
    assert sum(float(one.split()[0]) for one, _ in found.values()) == pytest.approx(1, abs=0.03)
    assert table.notes[-1] == "b: unknown; this needs 20 trials with different scores."


def test_running_trials_count_with_their_epochs(tmp_path):
    folder = write_experiment(tmp_path, "a", rows=search_rows(1))
    sample = search_rows(1)[0].sample
    epoch = {"epoch": 1, "val_dice": 0.96875, "seconds": 2.0, "elapsed_seconds": 9.0}
    events = [
        {"event": "begin", "number": 0, "sample": sample, "attrs": {}},
        {"event": "leg", "number": 0},
        *(
            {"event": "epoch", "number": 0, "metrics": done.to_json(), "finished": done.epoch == 3, "failure": None}
            for done in search_rows(1)[0].epochs
        ),
        {"event": "begin", "number": 1, "sample": sample, "attrs": {}},
        {"event": "leg", "number": 1},
        {"event": "epoch", "number": 1, "metrics": epoch, "finished": False, "failure": None},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    write_experiment(tmp_path, "b")
    tables = tables_of(tmp_path, "a", "b")
    assert cells(tables["scores"])["best validation Dice"][0] == "0.9688 (t001, epoch 1)"
    assert cells(tables["budget"])["epochs"][0] == "4"
    assert cells(tables["budget"])["trials ended"][0] == "1 of 6"
    assert "a: 1 more trial(s) have not ended yet; their epochs are included." in tables["budget"].notes
