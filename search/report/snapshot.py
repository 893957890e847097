"""What an experiment's folder says of its search, whether that has ended, was interrupted, or is still running."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from search.config import SearchConfig
from search.coordination.replay import replay
from search.coordination.trial_progress import End, Phase, TrialProgress
from search.experiment import recorded_config
from search.record.codec import JsonObject
from search.record.events import Begin, Lost, read_events
from search.record.experiment_record import ExperimentRecord, read_experiment
from search.record.files import BEST_FOLDER, LOG_FILE, METRICS_FILE, SCORINGS_FILE, TABLE_FILE
from search.record.jsonl import read_lines
from search.record.model_metrics import ModelMetrics, read_metrics
from search.record.trials import Trial, TrialRow, read_rows, trial_id
from search.scheduling.schedulers import SCHEDULERS


@dataclass(frozen=True, kw_only=True)
class OpenTrial(Trial):
    """A trial that has not ended, and so has no row in the table."""

    state: None = None
    phase: Phase
    """RUNNING, PAUSED, or INTERRUPTED, which means here that its search was ended; `--resume` continues it."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What an experiment's folder says at one moment."""

    folder: Path
    experiment: ExperimentRecord

    config: SearchConfig
    rows: list[Trial]
    """Every trial that has begun, by number."""

    losses: Counter[str]
    """How often each trial lost its worker group, by its id."""

    metrics: ModelMetrics | None
    """None where nothing was promoted."""

    is_running: bool
    """Whether a process searches or promotes there now."""

    was_resumed_after_promotion: bool


def read_snapshot(folder: Path, *, is_running: bool = False) -> Snapshot:
    """Return what the folder says now, without changing anything in it.

    Raises:
        UserError: It is not an experiment of this version, or one of its files is damaged.
    """
    experiment, config = read_experiment(folder), recorded_config(folder)
    rows: list[Trial] = [*read_rows(folder / TABLE_FILE)]
    events = read_events(folder / LOG_FILE)
    known = {row.number for row in rows}
    if any(isinstance(event, Begin) and event.number not in known for event in events):
        rows += [row for row in _from_log(config, folder, is_running=is_running) if row.number not in known]
    scorings = read_lines(folder / SCORINGS_FILE)
    return Snapshot(
        folder=folder,
        experiment=experiment,
        config=config,
        rows=sorted(rows, key=lambda row: row.number),
        losses=Counter(trial_id(event.number) for event in events if isinstance(event, Lost)),
        metrics=read_metrics(folder / BEST_FOLDER / METRICS_FILE),
        is_running=is_running,
        was_resumed_after_promotion=_was_resumed_after(experiment, scorings),
    )


def phase_of(row: Trial) -> Phase:
    """Return the phase of a trial."""
    return row.phase if isinstance(row, OpenTrial) else Phase.ENDED


def label_of(row: Trial) -> str:
    """Return how a trial ended, or its phase if it has not, in capitals: one of the keys of LABEL_COLOURS."""
    return str(row.state or phase_of(row).upper())


def _was_resumed_after(experiment: ExperimentRecord, scorings: Sequence[JsonObject]) -> bool:
    """Return whether the search was resumed after the test patients were last scored."""
    return bool(scorings and experiment.resumed and experiment.resumed[-1] > scorings[-1]["time"])


def _from_log(config: SearchConfig, folder: Path, *, is_running: bool) -> list[Trial]:
    """Return every trial by replaying the log of events."""
    trials = replay(
        folder / LOG_FILE,
        SCHEDULERS[config.scheduler].make(config.scheduler_request()),
        num_trials=config.trials,
        objectives=config.objective,
        max_failures=config.max_failures,
    )
    return [_row(trial, is_running=is_running) for trial in trials]


def _row(trial: TrialProgress, *, is_running: bool) -> Trial:
    epochs = trial.all_epochs
    seconds = sum(epoch.seconds for epoch in epochs)
    if trial.phase == Phase.ENDED and isinstance(trial.outcome, End):  # since the table was read
        return TrialRow(
            number=trial.number,
            sample=trial.sample,
            epochs=epochs,
            seconds=seconds,
            state=trial.outcome.state,
            error=trial.outcome.error,
        )
    cut_off = Phase.RUNNING if is_running else Phase.INTERRUPTED
    phase = Phase.PAUSED if trial.phase == Phase.PAUSED else cut_off
    return OpenTrial(number=trial.number, sample=trial.sample, epochs=epochs, seconds=seconds, phase=phase)
