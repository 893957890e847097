"""The rungs of successive halving as the table of trials shows them: which trials reached each, and which continued."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from search.config import SearchConfig
from search.coordination.trial_progress import Phase
from search.record.trials import State, Trial
from search.report.figures import LABEL_COLOURS
from search.report.snapshot import phase_of
from search.report.style import BEST_COLOUR, COLOURS, Figure, styled
from search.scheduling.schedulers import SCHEDULERS


@dataclass(frozen=True, kw_only=True)
class RungSummary:
    """The trials that the scheduler compared after an epoch, each with its Dice after it."""

    bracket: int
    """The bracket of Hyperband, counted from 1; always 1 for ASHA."""

    epoch: int
    continued: dict[str, float]
    stopped: dict[str, float]
    waiting: dict[str, float]

    @property
    def num_reached(self) -> int:
        """The number of trials that reached the rung."""
        return len(self.continued) + len(self.stopped) + len(self.waiting)

    @property
    def lowest_continued(self) -> float | None:
        """The lowest Dice of the trials that continued; None where there are none."""
        return min(self.continued.values(), default=None)

    @property
    def highest_stopped(self) -> float | None:
        """The highest Dice of the trials that were stopped, which can exceed `lowest_continued`: places are limited."""
        return max(self.stopped.values(), default=None)


def read_rungs(config: SearchConfig, rows: Sequence[Trial]) -> list[RungSummary]:
    """Return the rungs that a trial has reached, by bracket and epoch; none for a scheduler without rungs."""
    scheduler = SCHEDULERS[config.scheduler].make(config.scheduler_request())
    rungs = [
        _rung(bracket + 1, epoch, [row for row in rows if scheduler.bracket_of(row.number) == bracket])
        for bracket, epochs in enumerate(scheduler.rung_epochs)
        for epoch in epochs
    ]
    return [rung for rung in rungs if rung.num_reached]


def _rung(bracket: int, epoch: int, rows: Sequence[Trial]) -> RungSummary:
    continued: dict[str, float] = {}
    stopped: dict[str, float] = {}
    waiting: dict[str, float] = {}
    for row in rows:
        dice = next((each.val_dice for each in row.epochs if each.epoch == epoch), None)
        if dice is None or not np.isfinite(dice):
            continue
        if row.epochs[-1].epoch > epoch or phase_of(row) in (Phase.RUNNING, Phase.INTERRUPTED):
            continued[row.id] = dice
        elif phase_of(row) == Phase.PAUSED:
            waiting[row.id] = dice
        elif row.state == State.PRUNED:  # a trial that is COMPLETE or FAILED after this epoch was not compared
            stopped[row.id] = dice
    return RungSummary(bracket=bracket, epoch=epoch, continued=continued, stopped=stopped, waiting=waiting)


def rungs_figure(rungs: Sequence[RungSummary]) -> Figure | None:
    """Return a figure of every trial's Dice at the rungs that it reached; None without rungs."""
    if not rungs:
        return None
    many = len({rung.bracket for rung in rungs}) > 1
    labels = [f"bracket {rung.bracket}, epoch {rung.epoch}" if many else f"epoch {rung.epoch}" for rung in rungs]
    groups = (
        ("stopped", COLOURS[State.PRUNED], [rung.stopped for rung in rungs]),
        ("waiting", LABEL_COLOURS["PAUSED"], [rung.waiting for rung in rungs]),
        ("continued", BEST_COLOUR, [rung.continued for rung in rungs]),
    )
    figure = go.Figure([_points(name, colour, by_rung) for name, colour, by_rung in groups if any(by_rung)])
    plot = styled(figure, None, "validation Dice at the rung", legend=True)
    plot.update_xaxes(tickvals=list(range(len(rungs))), ticktext=labels, range=[-0.6, len(rungs) - 0.4], showgrid=False)
    return Figure(
        id="rungs-figure",
        title="Dice at each rung",
        plot=plot.update_layout(height=360),
        alt="; ".join(
            f"{label}: {len(rung.continued)} of {rung.num_reached} trials continued"
            for label, rung in zip(labels, rungs, strict=True)
        )
        + ".",
        min_width=110 * len(rungs) if many else 0,
    )


def _points(name: str, colour: str, by_rung: Sequence[dict[str, float]]) -> go.Scatter:
    """Return the trials of one group as a trace: those of the same rung lie beside each other."""
    points = [(place, trial, dice) for place, dices in enumerate(by_rung) for trial, dice in dices.items()]
    # Multiples of the golden ratio spread evenly.
    shifts = [(int(trial[1:]) * 0.618 % 1 - 0.5) * 0.5 for _, trial, _ in points]
    return go.Scatter(
        x=np.add([place for place, _, _ in points], shifts).astype(np.float32),
        y=np.array([dice for _, _, dice in points], np.float32),
        text=[trial for _, trial, _ in points],
        mode="markers",
        name=name,
        marker={"color": colour, "size": 7, "opacity": 0.8},
        hovertemplate="%{text}: %{y:.4f}<extra>" + name + "</extra>",
    )
