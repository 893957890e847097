"""Where the time of a search went: what each lane did when, and the totals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from search.formatting import format_duration
from search.record.trials import Trial
from search.report.figures import LABEL_COLOURS, time_unit
from search.report.snapshot import label_of
from search.report.style import Figure, styled


@dataclass
class BusyPeriod:
    """Consecutive epochs of one trial on one lane."""

    lane: int
    number: int
    label: str
    """The trial's, as `label_of` returns it."""

    begin: float
    """In seconds since the search started, as `end`."""

    end: float
    num_epochs: int = 1


@dataclass(frozen=True, kw_only=True)
class TimeShare:
    """The part of the time that was spent on one activity."""

    name: str
    seconds: float
    """Total of all lanes."""

    meaning: str


def busy_periods(rows: Sequence[Trial], num_lanes: int) -> list[BusyPeriod]:
    """Return what each lane did when; nothing where the table of trials has no times.

    The table does not say which lane trained an epoch. It is assumed to be the lane of the trial's previous epoch if
    that was free, and else the one that had been free for longest.
    """
    epochs = [(epoch, row) for row in rows for epoch in row.epochs]
    if any(epoch.elapsed_seconds is None for epoch, _ in epochs):
        return []
    timed = [(max(0.0, (end := epoch.elapsed_seconds or 0.0) - epoch.seconds), end, row) for epoch, row in epochs]
    periods: list[BusyPeriod] = []
    last: list[BusyPeriod | None] = [None] * num_lanes
    for begin, end, row in sorted(timed, key=lambda one: one[0]):
        seconds = end - begin
        # An epoch ends when the driver hears of it, which is a little late, and not always equally so.
        latest = begin + 0.2 * seconds
        same = next((one for one in last if one and one.number == row.number and one.end <= latest), None)
        if same and begin - same.end < max(1.0, 0.5 * seconds):
            same.end, same.num_epochs = end, same.num_epochs + 1
            continue
        lane = same.lane if same else min(range(num_lanes), key=lambda place: _end_of(last[place]))
        period = BusyPeriod(lane=lane, number=row.number, label=label_of(row), begin=begin, end=end)
        last[lane] = period
        periods.append(period)
    return periods


def _end_of(period: BusyPeriod | None) -> float:
    return period.end if period else -1.0


def time_shares(rows: Sequence[Trial], periods: Sequence[BusyPeriod], num_lanes: int) -> list[TimeShare]:
    """Return what the time of all lanes was spent on, from the start of the search to its last epoch.

    The list is empty where the table of trials has no times.
    """
    if not periods:
        return []
    epochs = [epoch for row in rows for epoch in row.epochs]
    wall = max(period.end for period in periods)
    busy = sum(epoch.seconds for epoch in epochs)
    waiting = sum(epoch.waiting_seconds or 0.0 for epoch in epochs)
    validating = sum(epoch.val_seconds or 0.0 for epoch in epochs)
    by_lane = [[one for one in periods if one.lane == lane] for lane in range(num_lanes)]
    start = sum(min((one.begin for one in lane), default=wall) for lane in by_lane)
    idle = sum(wall - max(one.end for one in lane) for lane in by_lane if lane)
    between = max(0.0, num_lanes * wall - busy - start - idle)
    if any(epoch.val_seconds is not None for epoch in epochs):
        shares = [
            ("training", busy - waiting - validating, "forward and backward passes, optimizer steps"),
            ("validation", validating, "after every epoch"),
        ]
    else:
        shares = [("training and validation", busy - waiting, "not recorded separately in this table")]
    shares += [
        ("waiting for data", waiting, "the next batch was not ready"),
        ("start-up", start, "workers and their imports, until the first epoch of each lane"),
        ("between epochs", between, "checkpoints, changes of trial, new worker groups, epochs that had to be repeated"),
        ("idle at the end", idle, "no trial was left for the lane while others were still training"),
    ]
    return [TimeShare(name=name, seconds=seconds, meaning=meaning) for name, seconds, meaning in shares]


def timeline_figure(periods: Sequence[BusyPeriod], num_lanes: int) -> Figure | None:
    """Return a figure of what each lane did over wall clock; None where there are no periods."""
    if not periods:
        return None
    wall = max(period.end for period in periods)
    unit, name = time_unit(wall)
    many = len(periods) > 100 * num_lanes  # then there is no room for the lines between bars
    figure = go.Figure()
    for label, colour in LABEL_COLOURS.items():
        if group := [one for one in periods if one.label == label]:
            figure.add_bar(
                base=np.array([one.begin / unit for one in group], np.float32),
                x=np.array([(one.end - one.begin) / unit for one in group], np.float32),
                y=np.array([one.lane + 1 for one in group], np.int32),
                customdata=np.array([(one.number, one.num_epochs) for one in group], np.int32),
                orientation="h",
                name=label,
                marker={"color": colour} | ({"line": {"width": 0}} if many else {}),
                hovertemplate="t%{customdata[0]:03d}: %{customdata[1]} epoch(s), %{base:.4g} to %{x:.4g} " + name,
            )
    plot = styled(figure, f"{name} since the search started", "lane", legend=True)
    plot.update_layout(barmode="overlay", height=130 + 34 * num_lanes, bargap=0.25, hovermode="closest")
    plot.update_yaxes(tickmode="linear", dtick=max(1, num_lanes // 8), range=[num_lanes + 0.6, 0.4], showgrid=False)
    return Figure(
        id="timeline",
        title="What each lane did",
        plot=plot,
        alt=f"{len(periods)} periods of training on {num_lanes} lanes within {format_duration(wall)}.",
        note="Each bar is a number of consecutive epochs of one trial. Its colour shows how the trial ended.",
    )
