"""An experiment that was tracked offline, made by the tracker itself, without Ray."""

import json
from pathlib import Path

import numpy as np
from fakes import trial_row

from model.manifest import write_manifest
from model.slices import PredictedSlices
from search.config import SearchConfig
from search.experiment import config_record
from search.space import Fixed
from search.tracking.model_artifact import track_model
from search.tracking.tracker import Tracking, make_tracker, row_epochs, tracked_trial
from search.trials import State, TrialRow, append_row

FIXED = Fixed(in_channels=3, max_epochs=3, batch_size=16, width=4, patience=0, precision="auto", seed=7)

ROWS = (
    trial_row(0, [0.25, 0.625, 0.5]),
    trial_row(1, [0.125], state=State.PRUNED, error="interrupted"),
    trial_row(2, [0.375, 0.25], state=State.FAILED, error="Traceback\nRuntimeError: raised"),
)
"""t000 won, and shows slices at its second epoch. t001 was paused, and not taken up again."""


def track_experiment(folder: Path) -> None:
    """Write an experiment's folder, as a search leaves it that was tracked offline."""
    folder.mkdir(parents=True)
    config = SearchConfig(name=folder.name, out=folder.parent, project="tumours", max_epochs=3)
    (folder / "config.json").write_text(json.dumps({"config": config_record(config)}))
    tracking = tracking_in(folder)
    for row in ROWS:
        track_trial(tracking, row)
        append_row(folder / "trials.jsonl", row)
    best = folder / "best"
    best.mkdir()
    (best / "model.onnx").write_bytes(b"model")
    write_manifest(best, {"trial": "t000"})
    assert track_model(best, ROWS[0], FIXED, tracking) is None


def tracking_in(folder: Path, mode: str = "offline") -> Tracking:
    """Return how the experiment of a folder is tracked."""
    return Tracking(mode=mode, project="tumours", group=folder.name, folder=folder)


def track_trial(tracking: Tracking, row: TrialRow) -> None:
    """Track a trial to where its lane leaves it, which does not know how it ends."""
    tracker = make_tracker(tracking)
    tracker.start(tracked_trial(row.number, row.sample, FIXED))
    for metrics in row_epochs(row):
        tracker.log(metrics, _slices() if (row.number, metrics["epoch"]) == (0, 2) else None)
    tracker.finish(State.PRUNED, "stopped early")


def _slices() -> PredictedSlices:
    images = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    true = np.zeros((2, 8, 8), bool)
    true[:, 2:4] = True
    return PredictedSlices(
        patients=("P1", "P2"), numbers=np.array([1, 2]), images=images, true=true, predicted=np.roll(true, 1, 1)
    )
