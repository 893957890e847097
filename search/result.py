"""The result of a search, read from its experiment's folder, for programs and notebooks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import UserError
from search.best import Best
from search.record.epochs import METRIC
from search.record.experiment_record import read_experiment
from search.record.files import BEST_FOLDER, METRICS_FILE, REPORT_FILE, STUDY_FILE, TABLE_FILE
from search.record.model_metrics import ModelMetrics, read_metrics
from search.record.trials import TrialRow, read_rows
from search.storage.download import sync_down
from search.storage.working_folder import format_command, parse_folder

if TYPE_CHECKING:
    import optuna
    import pandas


@dataclass(frozen=True, kw_only=True)
class Result:
    """A search that has ended: its trials, its promoted model, and where its files are."""

    folder: Path
    """The experiment's folder: config.json, trials.jsonl, the checkpoints, the report and `best/`."""

    rows: tuple[TrialRow, ...] = ()
    """The trials with all of their epochs, in the order of their numbers; none after a dry run."""

    best: Best | None = None
    """The promoted model; None if nothing was promoted."""

    @property
    def trials(self) -> "pandas.DataFrame":
        """The trials, a row for each by its id ("t000"); without trials, a table without rows.

        - `state` (str): COMPLETE, PRUNED or FAILED.
        - `val_dice` (float, 0 to 1): the volumetric Dice of the best epoch, the mean over validation patients; nan if
          there is none. With several regions, `val_dice_WT` and so on for each region, in the same epoch.
        - `best_epoch` (int): the number of that epoch, from 1; 0 if there is none.
        - `epochs` (int): how many were trained.
        - `seconds` (float): wall clock of training and validation, without waiting.
        - One column for each axis of the search space (float, int, str or bool), in the unit of the axis; nan where it
          has no effect in the trial, and whole numbers are floats in a column with such a gap.
        - `error` (str): why the trial is PRUNED or FAILED; None or nan if the state says enough (`isna()` finds both).
        """
        import pandas

        regions = dict.fromkeys(name for row in self.rows for name in _regions(row))
        axes = dict.fromkeys(name for row in self.rows for name in row.sample)
        columns = ["trial", "state", METRIC, *regions, "best_epoch", "epochs", "seconds", *axes, "error"]
        cells = [
            {
                "trial": row.id,
                "state": str(row.state),
                METRIC: row.best_dice,
                **_regions(row),
                "best_epoch": row.best_epoch_number,
                "epochs": len(row.epochs),
                "seconds": row.seconds,
                **row.sample,
                "error": row.error,
            }
            for row in self.rows
        ]
        return pandas.DataFrame(cells, columns=columns).set_index("trial")

    @property
    def study(self) -> "optuna.Study":
        """The Optuna study of the trials, to look at: it raises UserError when something would change it.

        Its values are validation Dice; with several objectives, they are in the order of `--objective`. Trials that
        ended PRUNED have the Dice of their epochs as intermediate values.

        Raises:
            UserError: Its file is missing, as after a dry run, or is damaged.
        """
        from search.suggestion.study_file import read_study

        return read_study(self.study_file)

    @property
    def study_file(self) -> Path:
        """The study's journal file, for `optuna-dashboard`; the name of the study is that of the experiment."""
        return self.folder / STUDY_FILE

    @property
    def report(self) -> Path:
        """The report, an HTML page."""
        return self.folder / REPORT_FILE


def load(folder: Path | str) -> Result:
    """Return the result in an experiment's folder.

    Args:
        folder: The folder, such as "runs/lgg"; or an address in a bucket, such as "s3://bucket/prefix/lgg", from which
            everything but checkpoints and the model is copied. `best.predict` fetches the model.

    Raises:
        UserError: It is not the folder of an experiment, a file in it is damaged, or the bucket cannot be reached.
    """
    return read_result(sync_down(parse_folder(folder), light=True))


def read_result(folder: Path) -> Result:
    """Return the result in an experiment's folder.

    Raises:
        UserError: It is not the folder of an experiment, or a file in it is damaged.
    """
    read_experiment(folder)
    rows = tuple(read_rows(folder / TABLE_FILE))
    metrics = read_metrics(folder / BEST_FOLDER / METRICS_FILE)
    return Result(folder=folder, rows=rows, best=_best(folder, rows, metrics) if metrics else None)


def _best(folder: Path, rows: Sequence[TrialRow], metrics: ModelMetrics) -> Best:
    best = folder / BEST_FOLDER
    for row in rows:
        if row.id == metrics.trial:
            return Best(trial=row, metrics=metrics, folder=best)
    raise UserError(
        f"{folder / TABLE_FILE} lacks trial {metrics.trial}, which was promoted ({best / METRICS_FILE} names it): "
        f"{format_command('search.tune', folder)} writes it anew; if this folder is a copy, copy that file again"
    )


def _regions(row: TrialRow) -> dict[str, float]:
    dices = row.best_epoch.dice_by_region if row.best_epoch else {}
    return {f"{METRIC}_{name}": dice for name, dice in dices.items()}
