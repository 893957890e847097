"""An experiment that was searched with `--tracking offline`: its record, without Ray and without W&B's own files."""

from dataclasses import replace
from pathlib import Path

from model.manifest import ModelProvenance, write_manifest
from search.config import SearchConfig
from search.experiment import config_record
from search.record.events import Begin, EpochEnded, append_event
from search.record.experiment_record import write_experiment
from search.record.trials import State, append_row
from tests.support.fakes import experiment_record, trial_row
from tests.support.tracked import FIXED, keep_some_slices

ROWS = (
    trial_row(0, [0.25, 0.625, 0.5]),
    trial_row(1, [0.125], state=State.PRUNED, error="interrupted"),
    trial_row(2, [0.375, 0.25], state=State.FAILED, error="Traceback\nRuntimeError: raised"),
)
"""t000 won, and shows slices at its second epoch. t001 was paused when the search was interrupted."""


def write_tracked_experiment(folder: Path) -> None:
    """Write an experiment's folder."""
    folder.mkdir(parents=True)
    config = SearchConfig(name=folder.name, out=folder.parent, project="tumours", max_epochs=FIXED.max_epochs)
    record = experiment_record()
    data = replace(record.data, num_channels=FIXED.in_channels)
    write_experiment(folder, replace(record, config=config_record(config), data=data))
    for row in ROWS:
        append_row(folder / "trials.jsonl", row)
        append_event(folder / "events.jsonl", Begin(number=row.number, sample=row.sample))
        for epoch in row.epochs:
            event = EpochEnded(number=row.number, metrics=epoch, finished=False, failure=None)
            append_event(folder / "events.jsonl", event)
    keep_some_slices(folder, 0)
    best = folder / "best"
    best.mkdir()
    (best / "model.onnx").write_bytes(b"model")
    write_manifest(best, ModelProvenance(trial="t000"))
