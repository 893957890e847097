"""How many lanes there is room for now: machines come and go while a search runs, and other searches use them too."""

import os
import time
from collections.abc import Callable

from search.cluster.capacity.lane_plan import LanePlan, count_lanes
from search.cluster.capacity.node_usage import (
    NodeUsage,
    cluster_nodes,
    count_held_lanes,
    count_possible_lanes,
    describe_other_jobs,
    explain_no_room,
)
from search.cluster.capacity.placement_groups import CapacityRequests
from search.config import SearchConfig

LOOK_SECONDS = 1.0
"""How long a number of lanes is believed."""

MOST_ASKED = 100
"""Lanes for which machines are asked at a time; thousands of requests would slow Ray's scheduler down."""


def open_lane_capacity(config: SearchConfig, lanes: LanePlan, on_change: Callable[[int, str], None]) -> "LaneCapacity":
    """Return the places of a search on the cluster that this process is connected to."""
    # A Ray of this machine alone has nobody who could give more.
    growth = CapacityRequests([lanes.worker_resources()] * lanes.num_workers) if os.environ.get("RAY_ADDRESS") else None
    return LaneCapacity(
        lanes, num_trials=config.trials, max_concurrent=config.max_concurrent, on_change=on_change, growth=growth
    )


class LaneCapacity:
    """Says whether another lane would find a place, and makes an autoscaler see that more of them would be used."""

    def __init__(
        self,
        lanes: LanePlan,
        *,
        num_trials: int,
        max_concurrent: int | None,
        on_change: Callable[[int, str], None],
        growth: CapacityRequests | None,
        nodes: Callable[[], list[NodeUsage]] = cluster_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without having looked.

        Args:
            num_trials: Of the whole search; no more lanes than that are of use.
            max_concurrent: Most lanes that a person allows.
            on_change: Is told a number of lanes that is not the one planned or told before, and why it is no more; of
                none, also when the reason changes.
            growth: What asks for more machines; None where nobody could give them.
        """
        self._lanes = lanes
        self._num_trials = num_trials
        self._most = min(num_trials, max_concurrent or num_trials)
        self._on_change = on_change
        self._growth = growth
        self._nodes = nodes
        self._clock = clock
        self._told = (lanes.num_lanes, "")
        self._num_lanes: int | None = None
        self._had_free = False
        self._next_look = clock()

    def has_room(self, *, num_busy: int, num_begun: int, num_unfinished: int = 0) -> bool:
        """Return whether a lane beside the busy ones has a place.

        Args:
            num_busy: Lanes that train, or wait for their place.
            num_begun: Trials that were begun until now.
            num_unfinished: Of them, those that were cut off, and wait to go on.
        """
        if self._clock() >= self._next_look:
            # Where nothing is under way, something waits: a search that has nothing to do has ended.
            num_waiting = max(self._num_trials - num_begun + num_unfinished, not num_busy)
            self._look(num_busy, wanted=min(self._most, num_busy + num_waiting))
            self._next_look = self._clock() + LOOK_SECONDS
        return num_busy < self._num_lanes

    def _look(self, num_busy: int, *, wanted: int) -> None:
        nodes = self._nodes()
        num_lanes = min(self._most, count_possible_lanes(self._lanes, nodes))
        # A lane that ends is no longer this search's a moment before what it held is free: only what stays is told.
        if num_lanes == self._num_lanes:
            self._tell(nodes)
        self._num_lanes = num_lanes
        if self._growth is not None:
            has_got = any(node.got for node in nodes) or num_busy > count_held_lanes(self._lanes, nodes)
            self._ask(self._growth, has_got, num_free=num_lanes - num_busy, num_more=wanted - num_lanes)

    def _ask(self, growth: CapacityRequests, has_got: bool, *, num_free: int, num_more: int) -> None:
        """Ask for more lanes than there is room for.

        What is free is for a lane, of this search or another: requests would take it from one that starts, and two
        searches' requests from each other. What they have got is given back, and is room when it is seen to be free: a
        lane that waited for it meanwhile would be given a machine too many. But a lane is not busy for a moment when it
        gets its next trial; requests outlive that, for Ray remembers every placement group that there ever was.

        Args:
            has_got: Requests have got a place, or a lane that begins has not got its own yet.
            num_free: Lanes that could begin.
            num_more: Lanes that could be used beyond the room that there is.
        """
        if has_got or (num_free > 0 and self._had_free):
            growth.ask(0)
        elif num_free <= 0:
            growth.ask(min(max(0, num_more), MOST_ASKED))
        self._had_free = num_free > 0

    def _tell(self, nodes: list[NodeUsage]) -> None:
        num_lanes = self._num_lanes
        why = ""
        if not num_lanes:
            why = explain_no_room(self._lanes, nodes) + ("; more are asked for" if self._growth else "")
        if (num_lanes, why) == self._told:
            return
        self._told = (num_lanes, why)
        is_shared = num_lanes < min(self._most, count_lanes(self._lanes, [node.total for node in nodes]))
        self._on_change(num_lanes, why or (describe_other_jobs(nodes) if is_shared else ""))
