"""What a comparison knows about each experiment."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from data.errors import UserError
from data.preprocess import Preprocessing
from data.printable import printable
from data.regions import Region, parse_regions
from data.source import ReadingOptions
from search.config import SearchConfig
from search.record.efficiency import Step, best_so_far
from search.record.experiment_record import ExperimentRecord
from search.record.files import TABLE_FILE
from search.record.model_metrics import ModelMetrics
from search.record.trials import Sample, Trial, read_rows
from search.report.axes import Axis, read_axes
from search.report.importance import TRIALS_PER_AXIS, Importance, importances, needed_trials
from search.report.snapshot import read_snapshot
from search.space.configs import own_networks, to_configs
from search.storage.lock import is_being_written
from search.storage.status import Status, experiment_names, status_of


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One of the experiments that are compared. It may still be running."""

    name: str
    record: ExperimentRecord
    config: SearchConfig
    rows: list[Trial]
    """All trials, also those that have not ended."""

    metrics: ModelMetrics | None
    """None where no model was promoted."""

    status: Status

    @cached_property
    def steps(self) -> list[Step]:
        """Every new best Dice, and the end of the search."""
        return best_so_far(self.rows)

    @cached_property
    def importances(self) -> list[Importance]:
        """The importance of each hyperparameter; empty where too few trials have a score."""
        return importances(self._scored, self._axes)

    @property
    def num_trials_for_importances(self) -> int:
        """How many trials must have a score before `importances` are known."""
        return needed_trials(self._axes) if self._axes else TRIALS_PER_AXIS * len(self.record.space)

    @property
    def _scored(self) -> list[Trial]:
        return [row for row in self.rows if row.best_epoch]

    @property
    def _axes(self) -> list[Axis]:
        return read_axes(self.record.space, self._scored)

    @property
    def ended(self) -> list[Trial]:
        """The trials that have ended."""
        return [row for row in self.rows if row.state is not None]

    @property
    def num_epochs(self) -> int:
        """The number of epochs of all trials."""
        return sum(len(row.epochs) for row in self.rows)

    @property
    def preparation(self) -> tuple[ReadingOptions, Preprocessing]:
        """How slices were read and preprocessed, which the fingerprint of the data also covers."""
        return self.config.reading, self.config.preprocessing

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions that its models segment."""
        return parse_regions(self.config.reading.regions, self.config.reading.labels)

    def hyperparameters(self, sample: Sample) -> dict[str, object]:
        """Return the values of a sample of the space, and those that were fixed in all trials.

        Of a network of somebody's own they are without its defaults, because a comparison runs none of its code.

        Raises:
            ValueError, UserError: No network and no training has such values.
        """
        if own_networks(self.config.search_space):
            return {**self.config.search_space.constants, **sample}
        network, training = to_configs(sample, self.config.shared_settings(in_channels=1))
        return {**network.to_dict(), **asdict(training)}

    def patients(self, side: str) -> frozenset[str]:
        """Return the ids of the patients on a side of the split: `train`, `val` or `test`."""
        return frozenset(self.record.data.patients[side])


def read_experiments(out: Path, names: Sequence[str]) -> list[Experiment]:
    """Return the experiments with these names, in this order.

    Raises:
        UserError: There are fewer than two; or one is named twice, is not in `out`, or cannot be read.
    """
    known = experiment_names(out)
    listed = ", ".join(map(printable, known)) or "none"
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"there is no experiment {printable(unknown[0])!r} in {out}; there are: {listed}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{twice[0]!r} is named twice: name different experiments")
    if len(names) < 2:
        raise UserError(f"a comparison needs at least two experiments, not {len(names)}; there are: {listed}")
    return [read_one(out / name) for name in names]


def read_one(folder: Path) -> Experiment:
    """Return the experiment of a folder.

    Raises:
        UserError: A file of its folder cannot be read.
    """
    snapshot = read_snapshot(folder, is_running=is_being_written(folder))
    return Experiment(
        name=folder.name,  # it may be a copy
        record=snapshot.experiment,
        config=snapshot.config,
        rows=snapshot.rows,
        metrics=snapshot.metrics,
        status=status_of(folder, snapshot.experiment, read_rows(folder / TABLE_FILE)),
    )
