"""Print a line for each event of a running search, for a pipe, a file, or a terminal that cannot show a table."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from search.console import say
from search.coordination.trial_progress import Phase, TrialProgress
from search.record.epochs import EpochMetrics
from search.record.trial_errors import error_file, headline
from search.record.trials import Sample, State, trial_id
from search.screen.board import Board
from search.screen.clock import format_clock, format_roughly
from search.screen.eta import Estimate


class Lines:
    """A listener of the coordinator that prints what happens, and what the search waits for."""

    def __init__(self, board: Board, folder: Path) -> None:
        self._board = board
        self._folder = folder
        self._is_quiet = False

    def __getstate__(self) -> dict[str, object]:
        return {}  # Tune pickles its callbacks but never reads the copy, and locks and threads cannot be pickled

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Do nothing before and after the search; the live table is shown meanwhile."""
        yield

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Print nothing during the block, in which the events of a resumed search are replayed."""
        self._is_quiet = True
        yield
        self._is_quiet = False

    def restore(self, trials: Mapping[int, TrialProgress]) -> None:
        """Take over the trials of a search that is resumed, and print how many are in which phase."""
        self._board.restore(trials)
        num_ended, num_trials = self._board.counts.total(), self._board.plan.num_trials
        phases = [trial.phase for trial in trials.values()]
        self.say(
            f"resumed: {num_ended} of {num_trials} trials had ended, {phases.count(Phase.INTERRUPTED)} continue from "
            f"their last checkpoint, {phases.count(Phase.PAUSED)} are paused"
        )

    def on_lanes(self, num_lanes: int, why: str = "") -> None:
        """Print that the number of lanes has changed, or what a search without lanes waits for."""
        before = self._board.plan.num_lanes
        self._board.plan = replace(self._board.plan, num_lanes=num_lanes)
        self._board.waits_for = "" if num_lanes else why
        if not num_lanes:
            self.say(f"waiting for resources: {why}")
            return
        trials = "1 trial" if num_lanes == 1 else f"{num_lanes} trials"
        self.say(
            f"the cluster now has room for {trials} at a time"
            + (f" instead of {before}" if before else "")
            + (f": {why}" if why else "")
        )

    def on_leg(self, trial: TrialProgress) -> None:
        """Record that a leg begins."""
        self._board.on_leg(trial)

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None:
        """Print a line if the epoch is the best so far."""
        if self._board.on_epoch(trial, epoch):
            number, dice = epoch.epoch, epoch.val_dice
            gain = describe_gain(trial.number, dice, self._board.plan.default_trial, self._board.default_dice)
            self.say(f"{trial_id(trial.number)} epoch {number}: best so far, validation Dice {dice:.4f}{gain}")

    def on_loss(self, trial: TrialProgress, error: str) -> None:
        """Print that a trial has lost its worker group."""
        self._board.on_loss(trial)
        reason = headline(error).split(". ")[0].rstrip(".")  # Ray's message continues with possible causes
        self.say(f"{trial_id(trial.number)} lost its worker group ({reason}); {self._error_file(trial)}")

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None:
        """Print how a trial ended. Trials that were cut off with the search are only counted, at its end."""
        self._board.on_end(trial, state)
        if trial.phase == Phase.ENDED:
            self.say(self._ending(trial, state) + self._reason(trial, state, error))

    def say(self, line: str) -> None:
        """Print a line that begins with the search's time."""
        if not self._is_quiet:
            say(f"{format_clock(self._board.clock.elapsed_seconds):>6s}  {line}")

    def _ending(self, trial: TrialProgress, state: State) -> str:
        board = self._board
        left = board.left if board.counts.total() < board.plan.num_trials else None
        dice = max(trial.dices.values(), default=math.nan)
        return (
            f"{trial_id(trial.number)} {state.value:8s} after {len(trial.epochs):2d} epochs, best Dice {dice:.4f}, "
            f"{self._sample(trial)}  [{board.counts.total()}/{board.plan.num_trials}]"
            + (f" {describe_left(left)}" if left else "")
        )

    def _sample(self, trial: TrialProgress) -> str:
        default = ", the default" if trial.number == self._board.plan.default_trial else ""
        return describe_sample(trial.sample) + default

    def _reason(self, trial: TrialProgress, state: State, error: str | None) -> str:
        if not error:
            return ""
        return f" ({headline(error)})" + (f"; {self._error_file(trial)}" if state == State.FAILED else "")

    def _error_file(self, trial: TrialProgress) -> Path:
        return error_file(self._folder, trial.number).relative_to(self._folder)


def describe_sample(sample: Sample) -> str:
    """Return hyperparameters in one line, such as "learning_rate 0.001 depth 4"."""
    parts = (f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in sample.items())
    return " ".join(parts)


def describe_gain(number: int, dice: float, default_trial: int | None, default_dice: float) -> str:
    """Return how much better a trial is than the default configuration; an empty text where that is not known."""
    if number == default_trial:
        return ", by the default"
    return f", {dice - default_dice:+.4f} from the default" if math.isfinite(default_dice) else ""


def describe_left(left: Estimate) -> str:
    """Return the time left in words: one duration if the simulations agree within a fifth, else a range."""
    low, high = format_roughly(left.low_seconds), format_roughly(left.high_seconds)
    if left.high_seconds <= 1.2 * left.low_seconds or low == high:
        return f"about {format_roughly(left.seconds)} left"
    return f"{low} to {high} left"
