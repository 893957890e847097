"""A trial as a run: what the record of a search says of it."""

import json
from dataclasses import replace

import pytest

from model.manifest import ModelProvenance, write_manifest
from search.experiment import recorded_config
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.tracking.runs import end_reason, make_run, recorded_runs, run_of_row, tracking_of
from tests.support.tracked import EPOCHS, SAMPLE, keep_some_slices, tracking
from tests.support.wandb_experiment import ROWS, write_tracked_experiment


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        ({"learning_rate": 3e-4, "depth": 4, "dropout": 0.1}, "t007 lr 3e-4 depth 4"),
        ({"learning_rate": 0.01234, "norm": "batch"}, "t007 lr 0.012 norm batch"),
        ({"weight_decay": 1.26e-5, "augment": 0.0}, "t007 weight decay 1.3e-5 augment 0"),
        ({"bce_weight": 0.999}, "t007 bce weight 1"),
        ({}, "t007"),
    ],
)
def test_name_tells_the_first_hyperparameters(tmp_path, sample, name):
    assert make_run(tracking(tmp_path), 7, sample, []).name == name


def test_reason_is_one_line():
    counts = {"num_epochs": 3, "max_epochs": 9}
    assert end_reason(State.COMPLETE, None, **counts) == ""
    assert end_reason(State.PRUNED, None, **counts) == "stopped early after epoch 3 of 9"
    assert end_reason(State.PRUNED, "interrupted", **counts) == "interrupted"
    assert end_reason(State.FAILED, "Traceback\n  File\nRuntimeError: raised\n\n", **counts) == "RuntimeError: raised"


def test_summary_has_the_best_epoch_the_state_and_the_memory(tmp_path):
    run = make_run(tracking(tmp_path), 3, SAMPLE, EPOCHS, is_over=True, state=State.PRUNED, reason="interrupted")
    assert run.summary == {
        "best_epoch": 2,
        "best_val_dice": 0.625,
        "best_val_iou": 0.5,
        "best_train_loss": 0.5,
        "peak_memory_mb": 500.0,
        "state": "PRUNED",
        "reason": "interrupted",
    }
    nan = make_run(tracking(tmp_path), 3, SAMPLE, [EpochMetrics(epoch=1, train_loss=1.0)])
    assert nan.summary == {}


def test_exit_code_is_that_of_the_state(tmp_path):
    ends = [{}, *({"is_over": True, "state": state} for state in State), {"is_over": True}]
    codes = [make_run(tracking(tmp_path), 0, SAMPLE, EPOCHS, **end).exit_code for end in ends]
    assert codes == [None, 0, 0, 1, 1], "the last was killed with its search"


def test_digest_changes_with_everything_that_is_sent(tmp_path):
    run = make_run(tracking(tmp_path), 0, SAMPLE, EPOCHS, is_over=True, state=State.PRUNED)
    keep_some_slices(tmp_path, 0)
    best = tmp_path / "best"
    best.mkdir()
    write_manifest(best, ModelProvenance(trial="t000"))
    with_slices = make_run(tracking(tmp_path), 0, SAMPLE, EPOCHS)
    others = [replace(run, reason="x"), replace(run, epochs=EPOCHS[:2]), replace(run, state=State.FAILED), with_slices]
    digests = [one.digest for one in (run, *others, replace(run, model=best))]
    write_manifest(best, ModelProvenance(trial="t000", commit="c0ffee"))
    digests.append(replace(run, model=best).digest)
    assert len(set(digests)) == len(digests)
    assert (
        make_run(tracking(tmp_path / "copy"), 0, SAMPLE, EPOCHS, is_over=True, state=State.PRUNED).digest == run.digest
    )


def test_slices_are_those_of_the_epochs_that_the_trial_has(tmp_path):
    for epoch in (2, 3, 4):
        keep_some_slices(tmp_path, 0, epoch)
    keep_some_slices(tmp_path, 10, 1)
    assert list(make_run(tracking(tmp_path), 0, SAMPLE, EPOCHS).slices) == [2, 3]
    [newest] = tmp_path.glob("wandb/slices/t000-004.npz")
    newest.write_bytes(newest.read_bytes()[:100])  # cut off with its writer
    newest.with_name("t000-003.npz").rename(newest.with_name("t000.npz"))  # as earlier versions named it
    assert list(make_run(tracking(tmp_path), 0, SAMPLE, [*EPOCHS, EpochMetrics(epoch=4)]).slices) == [2, 3]


def test_recorded_runs_are_those_of_the_table_and_of_trials_that_were_killed(tmp_path):
    folder = tmp_path / "small"
    write_tracked_experiment(folder)
    tracked = tracking_of(recorded_config(folder))
    runs = recorded_runs(tracked)
    assert [run.id for run in runs] == ["small-t000", "small-t001", "small-t002"]
    assert runs == [run_of_row(tracked, row) for row in ROWS]
    assert [run.state for run in runs] == [State.COMPLETE, State.PRUNED, State.FAILED]
    assert [run.model for run in runs] == [folder / "best", None, None]
    rows = (folder / "trials.jsonl").read_text().splitlines()
    (folder / "trials.jsonl").write_text("\n".join([rows[0], rows[2], ""]))
    killed = recorded_runs(tracked)[1]
    assert (killed.id, killed.epochs, killed.config) == (runs[1].id, runs[1].epochs, runs[1].config)
    assert (killed.state, killed.exit_code) == (None, 1)


def test_config_leaves_out_what_an_older_experiment_does_not_say(tmp_path):
    write_tracked_experiment(tmp_path / "small")
    config = recorded_config(tmp_path / "small")
    assert run_of_row(tracking_of(config), ROWS[0]).config["in_channels"] == 3
    file = tmp_path / "small/config.json"
    content = json.loads(file.read_text())
    content["data"]["num_channels"] = None
    file.write_text(json.dumps(content))
    [run, *_] = recorded_runs(tracking_of(config))
    assert "in_channels" not in run.config
    assert (
        run.config.items() >= {"experiment": "small", "searcher": "prior_gp", "depth": ROWS[0].sample["depth"]}.items()
    )
