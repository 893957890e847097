"""The rungs of successive halving, as the table of trials has them: who came, who went on, and from which Dice on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from search.config import SearchConfig
from search.record.trials import State, TrialRow
from search.report.figures import STATE_COLOURS
from search.report.snapshot import Phase
from search.report.style import BEST_COLOUR, COLOURS, Figure, styled
from search.scheduling.schedulers import SCHEDULERS


@dataclass(frozen=True, kw_only=True)
class Rung:
    """The trials that were compared after one epoch, by their Dice then."""

    bracket: int
    """Of Hyperband, from 1; 1 for ASHA."""

    epoch: int
    went_on: dict[str, float]
    stopped: dict[str, float]
    waiting: dict[str, float]

    @property
    def num_reached(self) -> int:
        return len(self.went_on) + len(self.stopped) + len(self.waiting)

    @property
    def lowest_kept(self) -> float | None:
        """The lowest Dice that went on."""
        return min(self.went_on.values(), default=None)

    @property
    def highest_stopped(self) -> float | None:
        """The highest Dice that did not: above the lowest kept one where it came when the places were taken."""
        return max(self.stopped.values(), default=None)


def read_rungs(config: SearchConfig, rows: Sequence[TrialRow]) -> list[Rung]:
    """Return the rungs that anybody reached, of each bracket the lowest first; none for a scheduler without rungs."""
    scheduler = SCHEDULERS[config.scheduler].make(config.budget())
    rungs = [
        _rung(bracket + 1, epoch, [row for row in rows if scheduler.bracket_of(row.number) == bracket])
        for bracket, epochs in enumerate(scheduler.rung_epochs)
        for epoch in epochs
    ]
    return [rung for rung in rungs if rung.num_reached]


def _rung(bracket: int, epoch: int, rows: Sequence[TrialRow]) -> Rung:
    went_on, stopped, waiting = {}, {}, {}
    for row in rows:
        dice = next((each.val_dice for each in row.epochs if each.epoch == epoch), None)
        if dice is None or not np.isfinite(dice):
            continue
        if row.epochs[-1].epoch > epoch or row.state in (Phase.RUNNING, Phase.UNFINISHED):
            went_on[row.id] = dice
        elif row.state == Phase.PAUSED:
            waiting[row.id] = dice
        elif row.state == State.PRUNED:  # who is COMPLETE or FAILED here was not compared
            stopped[row.id] = dice
    return Rung(bracket=bracket, epoch=epoch, went_on=went_on, stopped=stopped, waiting=waiting)


def rungs_figure(rungs: Sequence[Rung]) -> Figure | None:
    """Return every trial's Dice at each rung that it reached; None without rungs."""
    if not rungs:
        return None
    many = len({rung.bracket for rung in rungs}) > 1
    labels = [f"bracket {rung.bracket}, epoch {rung.epoch}" if many else f"epoch {rung.epoch}" for rung in rungs]
    figure = go.Figure()
    for name, kind, colour in (
        ("stopped", "stopped", COLOURS[State.PRUNED]),
        ("waiting", "waiting", STATE_COLOURS[Phase.PAUSED]),
        ("went on", "went_on", BEST_COLOUR),
    ):
        points = [(place, *each) for place, rung in enumerate(rungs) for each in getattr(rung, kind).items()]
        if points:
            places, trials, dices = zip(*points, strict=True)
            # Beside each other, not on each other: the golden ratio's multiples spread evenly.
            aside = [(int(trial[1:]) * 0.618 % 1 - 0.5) * 0.5 for trial in trials]
            figure.add_scatter(
                x=np.add(places, aside).astype(np.float32),
                y=np.array(dices, np.float32),
                text=trials,
                mode="markers",
                name=name,
                marker={"color": colour, "size": 7, "opacity": 0.8},
                hovertemplate="%{text}: %{y:.4f}<extra>" + name + "</extra>",
            )
    plot = styled(figure, None, "validation Dice at the rung", legend=True)
    plot.update_xaxes(tickvals=list(range(len(rungs))), ticktext=labels, range=[-0.6, len(rungs) - 0.4], showgrid=False)
    return Figure(
        id="rungs-figure",
        title="Dice at each rung",
        plot=plot.update_layout(height=360),
        alt="; ".join(
            f"{label}: {len(rung.went_on)} of {rung.num_reached} trials went on"
            for label, rung in zip(labels, rungs, strict=True)
        )
        + ".",
        min_width=110 * len(rungs) if many else 0,
    )
