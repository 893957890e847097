"""How long a search has been running, without the time between an interruption and its resume."""

import time
from collections.abc import Iterable

from search.coordination.trial_progress import TrialProgress


class Clock:
    """Counts the seconds that a search has been running, over all its processes."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds so far."""
        return round(time.monotonic() - self._started, 3)

    def restore(self, trials: Iterable[TrialProgress]) -> None:
        """Continue from the time on this clock at which the last epoch of a resumed search ended."""
        ends = [epoch.elapsed_seconds or 0.0 for trial in trials for epoch in trial.epochs.values()]
        self._started -= max(ends, default=0.0)


def format_clock(seconds: float) -> str:
    """Return seconds as on a stopwatch: 0:42, 12:03, 1:02:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def format_roughly(seconds: float) -> str:
    """Return a length of time as a person would say it, to about two figures: 40 s, 5 min, 3 h 20 min, 2 d 4 h."""
    if seconds < 60:
        return f"{max(5, round(seconds / 5) * 5)} s" if seconds < 57.5 else "1 min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 10 * 60:
        hours, minutes = divmod(5 * round(minutes / 5), 60)
        return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"
    hours = round(seconds / 3600)
    return f"{hours} h" if hours < 48 else f"{hours // 24} d" + (f" {hours % 24} h" if hours % 24 else "")
