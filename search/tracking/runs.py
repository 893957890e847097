"""A trial as a run: everything that it should show, taken from the record of the search."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from model.manifest import MANIFEST_NAME, read_manifest
from model.settings import ModelError
from search.config import SearchConfig
from search.record.epochs import EpochMetrics
from search.record.events import Begin, EpochEnded, read_events
from search.record.experiment_record import read_experiment
from search.record.files import BEST_FOLDER, LOG_FILE, TABLE_FILE
from search.record.trial_errors import headline
from search.record.trials import Sample, State, TrialRow, read_rows, trial_id
from search.space.configs import SharedSettings, to_configs
from search.tracking.kept_slices import find_kept_slices
from search.tracking.messages import RunUpdate

SHORT_NAMES = {"learning_rate": "lr"}
"""Hyperparameters with a shorter name in the name of a run."""

NUM_NAMED = 2
"""Hyperparameters in the name of a run: the first of the space, which matter most."""

UPLOAD_BYTES_PER_SECOND = 1e6
"""The slowest upload of a model, some 100 MB, that is waited for."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where the runs of an experiment go, and what they have in common."""

    mode: str
    """'offline', 'online', 'tensorboard' or 'off'."""

    project: str
    group: str
    """The experiment's name."""

    folder: Path
    """The experiment's folder, as an absolute path."""

    settings: SharedSettings
    """What all trials have in common."""

    facts: Mapping[str, object] = field(default_factory=dict)
    """What the config of every run says about the search."""

    left_out: tuple[str, ...] = ("loader_processes",)
    """Settings that the config of a run does not say: they depend on the machine, or are not known; and one region."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """What a trial's run should hold now."""

    id: str
    name: str
    """A name that sorts like the number and tells trials apart: `t007 lr 3e-4 depth 4`."""

    config: dict[str, object]
    """The fields of the trial's NetworkConfig and TrainConfig, and the facts of the search."""

    epochs: Sequence[EpochMetrics]
    """The metrics of each epoch so far."""

    slices: dict[int, Path] = field(default_factory=dict)
    """Files with predicted slices, by epoch (kept_slices.py)."""

    is_over: bool = False
    """Whether the run is to be closed."""

    state: State | None = None
    """How the trial ended; None if it has not, or was killed with its search."""

    reason: str = ""
    """Why it ended that way, in a line."""

    model: Path | None = None
    """Folder of the promoted model, in the run of the winner."""

    @property
    def summary(self) -> dict[str, object]:
        """The best epoch, the peak memory, and how the trial ended."""
        summary: dict[str, object] = {}
        if (best := best_epoch(self.epochs)) is not None:
            values = best.to_json()
            names = [name for name in values if name in ("epoch", "train_loss") or name.startswith("val_")]
            summary |= {f"best_{name}": values[name] for name in names}
        if peaks := [epoch.peak_memory_mb for epoch in self.epochs if epoch.peak_memory_mb is not None]:
            summary["peak_memory_mb"] = max(peaks)
        if self.state is not None:
            summary |= {"state": str(self.state), "reason": self.reason}
        return summary

    @property
    def exit_code(self) -> int | None:
        """What W&B calls the end of the run: 0 finished, 1 failed, None still running."""
        if not self.is_over:
            return None
        return int(self.state in (None, State.FAILED))  # one that was killed counts as failed until it is resumed

    @property
    def digest(self) -> str:
        """A hash of everything in the run, to tell whether it has changed since it was sent."""
        epochs = [epoch.to_json() for epoch in self.epochs]
        told = [self.id, self.name, self.config, epochs, self.summary, self.exit_code, sorted(self.slices)]
        found = hashlib.sha256(json.dumps(told).encode())
        for file in (*self.slices.values(), *([self.model / MANIFEST_NAME] if self.model else [])):
            found.update(file.read_bytes())
        return found.hexdigest()

    @property
    def model_seconds(self) -> float:
        """How long the upload of its model may take."""
        if self.model is None:
            return 0.0
        return sum(file.stat().st_size for file in self.model.rglob("*") if file.is_file()) / UPLOAD_BYTES_PER_SECOND

    def update(self) -> RunUpdate:
        """Return the run as W&B's client is told of it."""
        return RunUpdate(
            id=self.id,
            name=self.name,
            config=self.config,
            epochs=[epoch.to_json() for epoch in self.epochs],
            slices={str(epoch): str(file) for epoch, file in self.slices.items()},
            summary=self.summary,
            exit_code=self.exit_code,
            model=str(self.model) if self.model else None,
            model_seconds=self.model_seconds,
        )


def tracking_of(config: SearchConfig) -> Tracking:
    """Return how a search is tracked, from its config and the data that its config.json describes."""
    data = read_experiment(config.folder).data
    facts = {"experiment": config.name, "fingerprint": data.fingerprint[:16], "size": config.preprocessing.size}
    facts |= {name: getattr(config, name) for name in ("searcher", "scheduler", "workers_per_trial")}
    facts["space"] = config.space if isinstance(config.space, str) else ", ".join(config.search_space)
    settings = config.shared_settings(data.num_channels or 1)
    silent = {"in_channels": not data.num_channels, "num_regions": settings.num_regions == 1}
    return Tracking(
        mode=config.tracking,
        project=config.project,
        group=config.name,
        folder=config.folder.resolve(),  # W&B's service process has a working directory of its own
        settings=settings,
        facts=facts,
        left_out=(*Tracking.left_out, *(name for name, is_left_out in silent.items() if is_left_out)),
    )


def make_run(
    tracking: Tracking,
    number: int,
    sample: Sample,
    epochs: Iterable[EpochMetrics],
    *,
    is_over: bool = False,
    state: State | None = None,
    reason: str = "",
) -> TrackedRun:
    """Return the run of a trial.

    Args:
        epochs: Its metrics by epoch, as the record has them.
        is_over: Whether it has ended; see TrackedRun for `state` and `reason`.
    """
    metrics = [replace(epoch, elapsed_seconds=None) for epoch in epochs]
    numbers = {epoch.epoch for epoch in metrics}
    slices = find_kept_slices(tracking.folder, number)
    best = tracking.folder / BEST_FOLDER
    return TrackedRun(
        id=run_id(tracking.group, number),
        name=_name(number, sample),
        config={**tracking.facts, **_config(sample, tracking)},
        epochs=metrics,
        slices={epoch: file for epoch, file in slices.items() if epoch in numbers},
        model=best if is_over and _trial_of(best) == trial_id(number) else None,
        is_over=is_over,
        state=state,
        reason=reason,
    )


def run_of_row(tracking: Tracking, row: TrialRow) -> TrackedRun:
    """Return the run of a trial that is in the table."""
    max_epochs = tracking.settings.max_epochs
    reason = end_reason(row.state, row.error, num_epochs=len(row.epochs), max_epochs=max_epochs)
    return make_run(tracking, row.number, row.sample, row.epochs, is_over=True, state=row.state, reason=reason)


def recorded_runs(tracking: Tracking) -> list[TrackedRun]:
    """Return the runs of an experiment that nobody searches now, by number.

    A trial that was killed with its search has no row in the table; the log has its epochs.
    """
    runs = {row.number: run_of_row(tracking, row) for row in read_rows(tracking.folder / TABLE_FILE)}
    samples: dict[int, Sample] = {}
    epochs: dict[int, dict[int, EpochMetrics]] = {}
    for event in read_events(tracking.folder / LOG_FILE):
        match event:
            case Begin():
                samples[event.number] = event.sample
            case EpochEnded() if event.metrics.epoch > 0:
                epochs.setdefault(event.number, {})[event.metrics.epoch] = event.metrics
    for number in epochs.keys() - runs.keys():
        metrics = [epochs[number][epoch] for epoch in sorted(epochs[number])]
        runs[number] = make_run(tracking, number, samples[number], metrics, is_over=True)
    return [runs[number] for number in sorted(runs)]


def run_id(group: str, number: int) -> str:
    """Return the id of a trial's run in its project."""
    return f"{group}-{trial_id(number)}"


def end_reason(state: State, error: str | None, *, num_epochs: int, max_epochs: int) -> str:
    """Return in a line why a trial ended in a state; an empty one if it was trained to its end."""
    if error:
        return headline(error)
    return "" if state == State.COMPLETE else f"stopped early after epoch {num_epochs} of {max_epochs}"


def best_epoch(epochs: Iterable[EpochMetrics]) -> EpochMetrics | None:
    """Return the best epoch, the first among equals; None if no epoch has a finite score."""
    return max((epoch for epoch in epochs if epoch.has_dice), key=lambda epoch: epoch.val_dice, default=None)


def _config(sample: Sample, tracking: Tracking) -> dict[str, object]:
    network, train = to_configs(sample, tracking.settings)
    return {name: value for name, value in (network.to_dict() | asdict(train)).items() if name not in tracking.left_out}


def _trial_of(best: Path) -> str | None:
    """Return the trial that a promoted model comes from; None if there is no model."""
    try:
        return read_manifest(best).provenance.trial
    except ModelError:
        return None


def _name(number: int, sample: Sample) -> str:
    axes = [(SHORT_NAMES.get(name, name.replace("_", " ")), value) for name, value in list(sample.items())[:NUM_NAMED]]
    return " ".join([trial_id(number), *(f"{name} {_brief(value)}" for name, value in axes)])


def _brief(value: object) -> str:
    """Return two digits of a number: 3e-4, 0.25, 4."""
    if not isinstance(value, float):
        return str(value)
    digits, power = f"{value:.1e}".split("e")
    if value and not -2 <= int(power) <= 4:
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.2g}"
