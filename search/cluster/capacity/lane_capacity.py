"""Count the lanes for which there is room now: machines come and go during a search, and other jobs use them too."""

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
from search.cluster.start.choice import names_cluster
from search.config import SearchConfig

LOOK_SECONDS = 1.0
"""How long a number of lanes is used before it is counted again."""

MAX_REQUESTED = 100
"""The most lanes for which machines are requested at a time; thousands of requests would slow Ray's scheduler down."""


def open_lane_capacity(config: SearchConfig, lanes: LanePlan, on_change: Callable[[int, str], None]) -> "LaneCapacity":
    """Return the capacity of the connected cluster for a search."""
    # A Ray that was started on this machine has no autoscaler.
    requests = CapacityRequests([lanes.worker_resources()] * lanes.num_workers) if names_cluster() else None
    return LaneCapacity(
        lanes, num_trials=config.trials, max_concurrent=config.max_concurrent, on_change=on_change, requests=requests
    )


class LaneCapacity:
    """Tells whether another lane could start, and requests machines while the search could use more lanes."""

    def __init__(
        self,
        lanes: LanePlan,
        *,
        num_trials: int,
        max_concurrent: int | None,
        on_change: Callable[[int, str], None],
        requests: CapacityRequests | None,
        nodes: Callable[[], list[NodeUsage]] = cluster_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nothing counted.

        Args:
            num_trials: Trials of the whole search; more lanes than that would be idle.
            max_concurrent: The largest number of lanes that the user allows; None: any.
            on_change: Called with a new number of lanes and the reason why there are no more. With 0 lanes it is also
                called for a new reason.
            requests: Requests more machines; None if the cluster cannot grow.
        """
        self._lanes = lanes
        self._num_trials = num_trials
        self._most = min(num_trials, max_concurrent or num_trials)
        self._on_change = on_change
        self._requests = requests
        self._nodes = nodes
        self._clock = clock
        self._told = (lanes.num_lanes, "")
        self._num_lanes: int | None = None
        self._had_free = False
        self._next_look = clock()

    def has_room(self, *, num_busy: int, num_begun: int, num_unfinished: int = 0) -> bool:
        """Return whether another lane could start beside the busy ones.

        Args:
            num_busy: Lanes that train or wait to be placed.
            num_begun: Trials that have begun.
            num_unfinished: How many of these were interrupted and wait to continue.
        """
        if self._num_lanes is None or self._clock() >= self._next_look:
            # If no lane is busy, at least one trial waits, perhaps a paused one, because the search has not ended.
            num_waiting = max(self._num_trials - num_begun + num_unfinished, not num_busy)
            self._num_lanes = self._look(num_busy, wanted=min(self._most, num_busy + num_waiting))
            self._next_look = self._clock() + LOOK_SECONDS
        return num_busy < self._num_lanes

    def _look(self, num_busy: int, *, wanted: int) -> int:
        """Return the number of lanes for which there is room, after reporting a change and requesting machines."""
        nodes = self._nodes()
        num_lanes = min(self._most, count_possible_lanes(self._lanes, nodes))
        # When a lane ends, its resources become free a moment later: report only what two looks in a row have found.
        if num_lanes == self._num_lanes:
            self._tell(num_lanes, nodes)
        if self._requests is not None:
            must_release = any(node.requested for node in nodes) or num_busy > count_held_lanes(self._lanes, nodes)
            self._request(self._requests, must_release, num_free=num_lanes - num_busy, num_more=wanted - num_lanes)
        return num_lanes

    def _request(self, requests: CapacityRequests, must_release: bool, *, num_free: int, num_more: int) -> None:
        """Request machines for the lanes that the search could use beyond the room there is.

        Nothing is requested while anything is free: a request could take it from a lane that is starting, in this
        search or another, and the requests of two searches could take it from each other. Resources that requests hold
        are released before a lane books them. If the lane waited for them at the same time, the autoscaler would start
        one machine too many.

        Between two trials, a lane counts as free for a moment. Requests are kept during that moment, because Ray keeps
        a record of every placement group, even of removed ones.

        Args:
            must_release: Whether requests hold resources, or a lane that is starting is not placed yet. Lanes go first.
            num_free: Lanes that could start now.
            num_more: Lanes beyond the present room that the search could use.
        """
        if must_release or (num_free > 0 and self._had_free):
            requests.ask_for(0)
        elif num_free <= 0:
            requests.ask_for(min(max(0, num_more), MAX_REQUESTED))
        self._had_free = num_free > 0

    def _tell(self, num_lanes: int, nodes: list[NodeUsage]) -> None:
        why = ""
        if not num_lanes:
            why = explain_no_room(self._lanes, nodes) + ("; more are requested" if self._requests else "")
        if (num_lanes, why) == self._told:
            return
        self._told = (num_lanes, why)
        is_shared = num_lanes < min(self._most, count_lanes(self._lanes, [node.total for node in nodes]))
        self._on_change(num_lanes, why or (describe_other_jobs(nodes) if is_shared else ""))
