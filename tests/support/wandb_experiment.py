"""An experiment that was tracked offline, made by the tracker itself, without Ray."""

from dataclasses import replace
from pathlib import Path

from model.manifest import Provenance, write_manifest
from search.config import SearchConfig
from search.experiment import config_record
from search.record.experiment_record import write_experiment
from search.record.trials import State, TrialRow, append_row
from search.tracking.model_artifact import track_model
from search.tracking.tracker import Tracking, make_tracker, row_epochs, tracked_trial
from tests.support.fakes import experiment_record, trial_row
from tests.support.tracked import FIXED, some_slices

ROWS = (
    trial_row(0, [0.25, 0.625, 0.5]),
    trial_row(1, [0.125], state=State.PRUNED, error="interrupted"),
    trial_row(2, [0.375, 0.25], state=State.FAILED, error="Traceback\nRuntimeError: raised"),
)
"""t000 won, and shows slices at its second epoch. t001 was paused, and not taken up again."""


def track_experiment(folder: Path) -> None:
    """Write an experiment's folder, as a search leaves it that was tracked offline."""
    folder.mkdir(parents=True)
    config = SearchConfig(name=folder.name, out=folder.parent, project="tumours", max_epochs=FIXED.max_epochs)
    write_experiment(folder, replace(experiment_record(), config=config_record(config)))
    tracking = tracking_in(folder)
    for row in ROWS:
        track_trial(tracking, row)
        append_row(folder / "trials.jsonl", row)
    best = folder / "best"
    best.mkdir()
    (best / "model.onnx").write_bytes(b"model")
    write_manifest(best, Provenance(trial="t000"))
    assert track_model(best, ROWS[0], FIXED, tracking) is None


def tracking_in(folder: Path, mode: str = "offline") -> Tracking:
    """Return how the experiment of a folder is tracked."""
    return Tracking(mode=mode, project="tumours", group=folder.name, folder=folder)


def track_trial(tracking: Tracking, row: TrialRow) -> None:
    """Track a trial to where its lane leaves it, which does not know how it ends."""
    tracker = make_tracker(tracking)
    tracker.start(tracked_trial(row.number, row.sample, FIXED))
    for epoch in row_epochs(row):
        tracker.log(epoch, some_slices() if (row.number, epoch.epoch) == (0, 2) else None)
    tracker.finish(State.PRUNED, "stopped early")
