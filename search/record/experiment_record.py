"""config.json: everything that is needed to understand, repeat or resume a search."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data.atomic import write
from data.errors import UserError
from data.splitting.split import Split
from search.record.codec import JsonObject, check_version, from_json, to_json
from search.record.files import CONFIG_FILE
from search.record.provenance import Provenance
from search.record.trials import Sample, State

VERSION = 1
"""Version of config.json. A file without a version has version 1."""


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The patients that a search was given."""

    source: str
    """The value of `--data`."""

    format: str
    fingerprint: str
    """Hash of all patients' pixels and of the preprocessing."""

    split: Split
    num_channels: int | None = None
    """Channels of a slice; None in experiments that did not record it yet."""

    num_slices: Mapping[str, int] = field(default_factory=dict)
    """Number of slices by side."""

    num_tumour_slices: Mapping[str, int] = field(default_factory=dict)
    """Number of slices with tumour by side."""

    num_persons: Mapping[str, int] = field(default_factory=dict)
    """Number of persons by side, who may have several visits; empty in files that do not record it yet."""

    skipped: tuple[str, ...] = ()
    """Files that could not be used, and why."""

    @property
    def patients(self) -> dict[str, tuple[str, ...]]:
        """The ids of the patients by side."""
        return {"train": self.split.train, "val": self.split.val, "test": self.split.test}


@dataclass(frozen=True, kw_only=True)
class LanesRecord:
    """The lanes of a search when it began."""

    num_lanes: int
    num_workers: int
    """Workers of each lane."""

    cpus_per_worker: int
    gpus_per_worker: float
    object_store_bytes: int | None = None
    """Size of the smallest node's object store; None where unknown."""


@dataclass(frozen=True, kw_only=True)
class EarlierTrial:
    """A trial of another experiment, from which the searcher learned."""

    sample: Sample
    values: Mapping[int, float]
    """Validation Dice by epoch."""

    state: State
    costs: Mapping[str, float] = field(default_factory=dict)
    """Values of the objectives other than Dice, by name."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What a search knew before its first trial."""

    earlier: tuple[EarlierTrial, ...] = ()
    first: tuple[Sample, ...] = ()
    """Configurations to try first."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a search and its promotion have taken."""

    seconds: float
    """Wall clock from the start of the command, without the time between an interruption and its resume."""

    final_seeds: int
    """Seeds with which the winner was trained again."""


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """The options that are read without a SearchConfig."""

    trials: int
    time_budget_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class ExperimentRecord:
    """What config.json says of a search."""

    started: str
    """When the search began, in ISO 8601 like all times here."""

    config: JsonObject
    """The options; search.experiment.recorded_config turns them into a SearchConfig."""

    space: Mapping[str, str]
    """A description of each axis for people, by its name."""

    lanes: LanesRecord | None = None
    """None in files that do not record it yet."""

    data: DataRecord
    provenance: Provenance
    """On disk, its fields are on the same level as the others."""

    known: WarmStart = field(default_factory=WarmStart)
    resumed: tuple[str, ...] = ()
    """When the search was resumed."""

    spent: Spent | None = None
    """None until the search has promoted a model, and in files that do not record it yet."""

    @property
    def num_trials(self) -> int:
        """Number of configurations to try."""
        return self._limits.trials

    @property
    def time_budget_seconds(self) -> float | None:
        """Seconds after which the search stops; None: no limit."""
        return self._limits.time_budget_seconds

    @property
    def _limits(self) -> "_Limits":
        return from_json(_Limits, self.config, f"{CONFIG_FILE}, config")

    @property
    def num_lanes(self) -> int:
        """Number of lanes when the search began; 1 where that was not recorded."""
        return self.lanes.num_lanes if self.lanes else 1


def read_experiment(folder: Path) -> ExperimentRecord:
    """Return the content of an experiment's config.json.

    Raises:
        UserError: There is no such file, it is damaged, or a newer version of the program wrote it.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{folder} is not an experiment of this program: {path.name} cannot be read: {error}"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{folder} is not an experiment of this program: {path.name} is not a JSON object")
    check_version(values, VERSION, str(path))
    where = f"{folder} is not an experiment of this program: {path.name}"
    from_json(Provenance, values, where)  # checked first, so that an error names a key as it is on disk
    return from_json(ExperimentRecord, values | {"provenance": values}, where)


def write_experiment(folder: Path, experiment: ExperimentRecord) -> None:
    """Write an experiment's config.json, whole or not at all."""
    values = to_json(experiment)
    known, later = values.pop("known"), {name: values.pop(name) for name in ("resumed", "spent")}
    values |= values.pop("provenance") | {"known": known} | {name: value for name, value in later.items() if value}
    write(folder / CONFIG_FILE, json.dumps({"version": VERSION} | values, indent=2).encode())
