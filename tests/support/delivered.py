"""A small experiment on disk: its patients, what a search begins with, and what is left after all that follows it."""

import io
import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from data.atomic import write
from data.preprocess import Preprocessing
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from search.cluster.capacity.lane_plan import LanePlan, plan_lanes
from search.cohort import Cohort, read_cohort
from search.config import SearchConfig
from search.experiment import exclusive_writer, open_experiment
from search.promote import promote
from search.record.epochs import EpochMetrics
from search.record.experiment_record import ExperimentRecord, WarmStart
from search.record.trials import TrialRow
from tests.support.fakes import trial_row, write_lgg_patient

SIZE = 64


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A search that is about to begin."""

    config: SearchConfig
    cohort: Cohort
    lanes: LanePlan


@dataclass(frozen=True, kw_only=True)
class Delivered(Planned):
    """An experiment after all that follows the trials; its one trial was trained for an epoch."""

    run: ExperimentRecord
    rows: list[TrialRow]
    metrics: dict[str, Any]
    """What best/metrics.json holds."""


def plan_search(root: Path) -> Planned:
    """Write six patients below a folder, and return a search of one trial on them."""
    for number in range(6):
        write_lgg_patient(root / "patients", f"P{number}", tumour_numbers=(2, 10) if number else (), seed=number)
    config = SearchConfig(
        data=str(root / "patients"),
        out=root / "runs",
        name="tiny",
        preprocessing=Preprocessing(size=SIZE),
        trials=1,
        tracking="off",
    )
    return Planned(config=config, cohort=read_cohort(config), lanes=plan_lanes(config, [{"CPU": 2.0}]))


def deliver(root: Path) -> Delivered:
    """Write an experiment below a folder, train its trial, and promote it."""
    planned = plan_search(root)
    config, cohort = planned.config, planned.cohort
    with open_experiment(config, cohort, planned.lanes, WarmStart()) as run:
        pass
    training = TrainConfig(max_epochs=1, batch_size=4, precision="float32")
    [epoch] = train(UNetConfig(depth=1, width=2), training, cohort.train_pack, cohort.val_pack)
    write(config.folder / "state.pt", epoch.state.to_bytes())
    rows = [trial_row(0, [], epochs=(EpochMetrics.from_json(epoch.metrics),), checkpoint="state.pt")]
    with exclusive_writer(config.folder), redirect_stdout(io.StringIO()):
        assert promote(config, run, cohort, rows, Console(width=200)) == 0
    metrics = read_json(config.folder / "best" / "metrics.json")
    return Delivered(**vars(planned), run=run, rows=rows, metrics=metrics)


def read_json(path: Path) -> dict[str, Any]:
    """Return what a strict reader reads: one that knows no NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path} has {word}, which is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)
