"""What a tracker is, and the tracker of a name. It lives where the trial runs and must never harm it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from model.training.sample_slices import PredictedSlices
from search.config import SearchConfig
from search.record.epochs import EpochMetrics
from search.record.trial_errors import headline
from search.record.trials import State, TrialRow, trial_id
from search.space import Sample, SharedSettings, to_configs

SHORT = {"learning_rate": "lr"}
"""Names that are said shorter in the name of a run."""

NUM_NAMED = 2
"""Hyperparameters in the name of a run: the first of the space, which are those that matter most."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where the runs of an experiment go, and what they have in common."""

    mode: str
    """'offline', 'online', 'tensorboard' or 'off'."""

    project: str
    group: str
    """The experiment's name."""

    folder: Path
    """The experiment's."""

    facts: dict[str, Any] = field(default_factory=dict)
    """What every run's config says of the search."""

    sweep: str | None = None
    """The id of the W&B sweep that the runs belong to."""


@dataclass(frozen=True, kw_only=True)
class TrackedTrial:
    """What a tracker knows of a trial when it begins."""

    number: int
    sample: Sample
    config: dict[str, Any]
    """Its sample, and all that the search fixed: the fields of its NetworkConfig and its TrainConfig."""

    @property
    def name(self) -> str:
        """A name that sorts as the number does, and tells trials apart: `t007 lr 3e-4 depth 4`."""
        axes = list(self.sample.items())[:NUM_NAMED]
        return " ".join([trial_id(self.number), *(f"{_short(name)} {_brief(value)}" for name, value in axes)])


class Tracker(Protocol):
    """What a lane says of its trials."""

    wants_slices: bool
    """Whether there is a place for predicted slices."""

    def start(self, trial: TrackedTrial, history: Sequence[EpochMetrics] = ()) -> None:
        """A trial begins, or goes on after the epochs of its history."""

    def log(self, epoch: EpochMetrics, slices: PredictedSlices | None = None) -> None:
        """An epoch of it ended."""

    def finish(self, state: State, reason: str) -> None:
        """It ended, or waits for a leg that may never come."""


class NoTracker:
    """Says nothing to anyone."""

    wants_slices = False

    def start(self, trial: TrackedTrial, history: Sequence[EpochMetrics] = ()) -> None: ...

    def log(self, epoch: EpochMetrics, slices: PredictedSlices | None = None) -> None: ...

    def finish(self, state: State, reason: str) -> None: ...


def tracking_of(config: SearchConfig, *, fingerprint: str, sweep: str | None = None) -> Tracking:
    """Return how a search is tracked.

    Args:
        fingerprint: Of the training patients' pixels.
    """
    facts = {"experiment": config.name, "fingerprint": fingerprint[:16], "size": config.preprocessing.size}
    facts |= {name: getattr(config, name) for name in ("space", "searcher", "scheduler", "workers_per_trial")}
    return Tracking(
        mode=config.tracking,
        project=config.project,
        group=config.name,
        folder=config.folder.resolve(),  # W&B's service process has a working directory of its own
        facts=facts,
        sweep=sweep,
    )


def make_tracker(tracking: Tracking) -> Tracker:
    """Return the tracker of a mode."""
    if tracking.mode == "off":
        return NoTracker()
    if tracking.mode == "tensorboard":
        from search.tracking.tensorboard import TensorBoardTracker  # which imports this module

        return TensorBoardTracker(tracking)
    from search.tracking.wandb_tracker import WandbTracker  # so does this

    return WandbTracker(tracking)


def tracked_trial(number: int, sample: Sample, fixed: SharedSettings) -> TrackedTrial:
    """Return what a tracker is told of a trial."""
    network, train = to_configs(sample, fixed)
    return TrackedTrial(number=number, sample=sample, config=network.to_dict() | asdict(train))


def run_id(group: str, number: int) -> str:
    """Return the id of a trial's run in its project."""
    return f"{group}-{trial_id(number)}"


def row_reason(row: TrialRow, max_epochs: int) -> str:
    """Return why a trial of the table ended as it did."""
    return why(row.state, row.error, num_epochs=len(row.epochs), max_epochs=max_epochs)


def row_epochs(row: TrialRow) -> list[EpochMetrics]:
    """Return the epochs of a trial of the table as its lane knew them."""
    return [replace(epoch, elapsed_seconds=None) for epoch in row.epochs]


def why(state: State, error: str | None, *, num_epochs: int, max_epochs: int) -> str:
    """Return in a line why a trial ended in a state; nothing of one that was trained to its end."""
    if error:
        return headline(error)
    return "" if state == State.COMPLETE else f"stopped early after epoch {num_epochs} of {max_epochs}"


def _short(name: str) -> str:
    return SHORT.get(name, name.replace("_", " "))


def _brief(value: Any) -> str:
    """Return two digits of a number: 3e-4, 0.25, 4."""
    if not isinstance(value, float):
        return str(value)
    digits, power = f"{value:.1e}".split("e")
    if value and not -2 <= int(power) <= 4:
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.2g}"
