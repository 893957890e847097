"""The result of a search, read from its experiment's folder, for programs and notebooks."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.record.epochs import METRIC
from search.record.experiment_record import read_experiment
from search.record.files import BEST_FOLDER, METRICS_FILE, REPORT_FILE, STUDY_FILE, TABLE_FILE
from search.record.model_metrics import ModelMetrics, read_metrics
from search.record.trials import TrialRow, read_rows
from search.storage.download import sync_down
from search.storage.working_folder import parse_out

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Result:
    """A search that has ended: its trials, its winner, and where its files are."""

    folder: Path
    """The experiment's folder: config.json, trials.jsonl, the checkpoints, the report and `best/`."""

    trials: tuple[TrialRow, ...] = ()
    """The trials in the order of their numbers; none after a dry run."""

    winner: TrialRow | None = None
    """The trial whose configuration was promoted; of an ensemble, its best member. None if nothing was promoted."""

    metrics: ModelMetrics | None = None
    """The scores of the promoted model on validation and test patients; None if nothing was promoted."""

    @property
    def model(self) -> Path | None:
        """Folder of the exported model, for `python -m model.predict` and `serve`; None if nothing was promoted."""
        return self.folder / BEST_FOLDER if self.winner else None

    @property
    def report(self) -> Path:
        """The report, an HTML page."""
        return self.folder / REPORT_FILE

    @property
    def study(self) -> Path:
        """The journal file of the Optuna study, whose name is that of the experiment."""
        return self.folder / STUDY_FILE

    def table(self) -> "pandas.DataFrame":
        """Return a row for each trial, by its id ("t000").

        Columns: `state` (COMPLETE, PRUNED, FAILED), `val_dice` (the best epoch's volumetric Dice, mean over validation
        patients; nan without one), `val_dice_WT` and so on for each of several regions in that epoch, `best_epoch` (0
        without one), `epochs` (number trained), `seconds` (of training and validation), one column for each
        hyperparameter, and `error` (None without one).
        """
        import pandas

        rows = [
            {
                "trial": row.id,
                "state": str(row.state),
                "val_dice": row.best_dice,
                **{f"{METRIC}_{name}": dice for name, dice in _regions(row).items()},
                "best_epoch": row.best_epoch_number,
                "epochs": len(row.epochs),
                "seconds": row.seconds,
                **row.sample,
                "error": row.error,
            }
            for row in self.trials
        ]
        return pandas.DataFrame(rows).set_index("trial") if rows else pandas.DataFrame()


def _regions(row: TrialRow) -> dict[str, float]:
    return row.best_epoch.dice_by_region if row.best_epoch else {}


def load(folder: Path | str) -> Result:
    """Return the result in an experiment's folder. One in a bucket ("s3://bucket/prefix/name") is fetched first.

    Raises:
        UserError: It is not the folder of an experiment, or a file in it is damaged.
    """
    if "://" in str(folder):
        out, _, name = str(folder).rstrip("/").rpartition("/")
        folder = parse_out(out) / name
    return read_result(sync_down(Path(folder), light=True))


def read_result(folder: Path) -> Result:
    """Return the result in an experiment's folder.

    Raises:
        UserError: It is not the folder of an experiment, or a file in it is damaged.
    """
    read_experiment(folder)
    rows = tuple(read_rows(folder / TABLE_FILE))
    metrics = read_metrics(folder / BEST_FOLDER / METRICS_FILE)
    winner = next((row for row in rows if metrics and row.id == metrics.trial), None)
    return Result(folder=folder, trials=rows, winner=winner, metrics=metrics)
