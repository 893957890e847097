"""What tests of `search.sync` share: sending an experiment, and what a server then has of it."""

from dataclasses import replace
from pathlib import Path

from search import sync
from search.experiment import recorded_config
from search.tracking.connection import Connection, Patience
from search.tracking.runs import recorded_runs, tracking_of
from tests.support.wandb_experiment import ROWS
from tests.support.wandb_server import Server

RUNS = {f"small-t{row.number:03d}": row for row in ROWS}
EPOCHS = {run: [epoch.epoch for epoch in row.epochs] for run, row in RUNS.items()}


def send(out: Path, *options: str, **limits: float) -> int:
    return sync.main(["small", "--out", str(out), *options], **limits)


def sent_epochs(server: Server) -> dict[str, list[int]]:
    return {name: [line["epoch"] for line in run.history] for name, run in server.runs.items()}


def is_whole(server: Server) -> bool:
    """Whether the server has every epoch of every trial once, and all files."""
    media = [name for name in server.runs["small-t000"].files if name.startswith("media/")]
    return sent_epochs(server) == EPOCHS and len(media) == 1 and server.files["model/model.onnx"] == b"model"


def open_connection(out: Path) -> Connection:
    config = recorded_config(out / "small")
    tracking = replace(tracking_of(config), mode="online")
    connection = Connection(tracking, patience=Patience(), scratch=out / "small" / sync.SCRATCH_FOLDER)
    return connection


def unsent_names(out: Path) -> list[str]:
    connection = open_connection(out)
    try:
        return [run.id for run in connection.unsent(recorded_runs(tracking_of(recorded_config(out / "small"))))]
    finally:
        connection.close()
