"""Where a search's time went: which lane did what when, and the sums."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from search.record.trials import State, TrialRow
from search.report.figures import STATE_COLOURS, time_unit
from search.report.snapshot import Phase
from search.report.style import Figure, styled
from search.status import format_duration


@dataclass
class Stretch:
    """Epochs that a lane did of one trial without a break."""

    lane: int
    number: int
    state: State | Phase
    begin: float
    """In seconds since the search began."""

    end: float
    num_epochs: int = 1


@dataclass(frozen=True, kw_only=True)
class Share:
    """What some of the time was spent on."""

    name: str
    seconds: float
    """Of all lanes together."""

    meaning: str


def lay_out(rows: Sequence[TrialRow], num_lanes: int) -> list[Stretch]:
    """Return when which lane was busy with which trial; none where the table has no times.

    The table does not say which lane it was: an epoch goes to the lane of its trial's epoch before, if that is free,
    and otherwise to the one that has been free for longest.
    """
    epochs = [(epoch, row) for row in rows for epoch in row.epochs]
    if any(epoch.elapsed_seconds is None for epoch, _ in epochs):
        return []
    stretches: list[Stretch] = []
    last: list[Stretch | None] = [None] * num_lanes
    for epoch, row in sorted(epochs, key=lambda one: one[0].elapsed_seconds - one[0].seconds):
        end = epoch.elapsed_seconds
        begin = max(0.0, end - epoch.seconds)
        # An epoch's end is when the driver heard of it: a little late, and not always equally so.
        free = begin + 0.2 * epoch.seconds
        same = next((one for one in last if one and one.number == row.number and one.end <= free), None)
        if same and begin - same.end < max(1.0, 0.5 * epoch.seconds):
            same.end, same.num_epochs = end, same.num_epochs + 1
            continue
        lane = same.lane if same else min(range(num_lanes), key=lambda place: last[place].end if last[place] else -1.0)
        last[lane] = Stretch(lane=lane, number=row.number, state=row.state, begin=begin, end=end)
        stretches.append(last[lane])
    return stretches


def shares(rows: Sequence[TrialRow], stretches: Sequence[Stretch], num_lanes: int) -> list[Share]:
    """Return what the time of all lanes was spent on, from the search's begin to its last epoch; none without times."""
    if not stretches:
        return []
    epochs = [epoch for row in rows for epoch in row.epochs]
    wall = max(stretch.end for stretch in stretches)
    busy, waiting, validating = (
        sum(epoch.value(name) or 0.0 for epoch in epochs) for name in ("seconds", "waiting_seconds", "val_seconds")
    )
    by_lane = [[one for one in stretches if one.lane == lane] for lane in range(num_lanes)]
    start = sum(min((one.begin for one in lane), default=wall) for lane in by_lane)
    idle = sum(wall - max(one.end for one in lane) for lane in by_lane if lane)
    is_split = any(epoch.val_seconds is not None for epoch in epochs)
    rest = max(0.0, num_lanes * wall - busy - start - idle)
    return [
        Share(
            name="training" if is_split else "training and validation",
            seconds=busy - waiting - validating,
            meaning="forward, backward, optimizer" if is_split else "this table does not tell them apart",
        ),
        *([Share(name="validation", seconds=validating, meaning="after every epoch")] if is_split else []),
        Share(name="waiting for data", seconds=waiting, meaning="the next batch was not ready"),
        Share(name="start-up", seconds=start, meaning="until a lane's first epoch began: its workers, their imports"),
        Share(
            name="between epochs",
            seconds=rest,
            meaning="checkpoints, handing over, new worker groups, epochs that were lost and done again",
        ),
        Share(name="idle at the end", seconds=idle, meaning="nothing was left for the lane, others still trained"),
    ]


def timeline_figure(stretches: Sequence[Stretch], num_lanes: int) -> Figure | None:
    """Return what every lane did over wall clock; None without times."""
    if not stretches:
        return None
    wall = max(stretch.end for stretch in stretches)
    unit, name = time_unit(wall)
    many = len(stretches) > 100 * num_lanes  # else a line parts one bar from the next
    figure = go.Figure()
    for state in (*State, *Phase):
        if group := [one for one in stretches if one.state == state]:
            figure.add_bar(
                base=np.array([one.begin / unit for one in group], np.float32),
                x=np.array([(one.end - one.begin) / unit for one in group], np.float32),
                y=np.array([one.lane + 1 for one in group], np.int32),
                customdata=np.array([(one.number, one.num_epochs) for one in group], np.int32),
                orientation="h",
                name=str(state),
                marker={"color": STATE_COLOURS[state]} | ({"line": {"width": 0}} if many else {}),
                hovertemplate="t%{customdata[0]:03d}: %{customdata[1]} epoch(s), %{base:.4g} to %{x:.4g} " + name,
            )
    plot = styled(figure, f"{name} since the search began", "lane", legend=True)
    plot.update_layout(barmode="overlay", height=130 + 34 * num_lanes, bargap=0.25, hovermode="closest")
    plot.update_yaxes(tickmode="linear", dtick=max(1, num_lanes // 8), range=[num_lanes + 0.6, 0.4], showgrid=False)
    return Figure(
        id="timeline",
        title="What each lane did",
        plot=plot,
        alt=f"{len(stretches)} stretches of training in {num_lanes} lanes within {format_duration(wall)}.",
        note="A bar is epochs of one trial without a break, in the colour of how the trial ended.",
    )
