"""How many lanes there is room for now: a cluster gets machines while a search runs, and loses some."""

import os
import time
from collections.abc import Callable

from search.cluster.lanes import Lanes, count_lanes, node_resources
from search.cluster.placement import Growth
from search.config import SearchConfig

LOOK_SECONDS = 1.0
"""How long a number of lanes is believed."""


def open_places(config: SearchConfig, lanes: Lanes, on_change: Callable[[int], None]) -> "Places":
    """Return the places of a search on the cluster that this process is connected to."""
    # A Ray of this machine alone has nobody who could give more.
    growth = Growth([lanes.worker_resources()] * lanes.num_workers) if os.environ.get("RAY_ADDRESS") else None
    return Places(
        lanes, num_trials=config.trials, max_concurrent=config.max_concurrent, on_change=on_change, growth=growth
    )


class Places:
    """Says whether another lane would find a place, and makes an autoscaler see that more of them would be used."""

    def __init__(
        self,
        lanes: Lanes,
        *,
        num_trials: int,
        max_concurrent: int | None,
        on_change: Callable[[int], None],
        growth: Growth | None,
        nodes: Callable[[], list[dict[str, float]]] = node_resources,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with the lanes that were planned.

        Args:
            num_trials: Of the whole search; no more lanes than that are of use.
            max_concurrent: Most lanes that a person allows.
            on_change: Is told a number of lanes that is not the one before.
            growth: What asks for more machines; None where nobody could give them.
        """
        self._lanes = lanes
        self._num_trials = num_trials
        self._most = min(num_trials, max_concurrent or num_trials)
        self._on_change = on_change
        self._growth = growth
        self._nodes = nodes
        self._clock = clock
        self._num_lanes = lanes.num_lanes
        self._next_look = clock() + LOOK_SECONDS

    def has_room(self, *, num_busy: int, num_begun: int) -> bool:
        """Return whether a lane beside the busy ones has a place.

        Args:
            num_busy: Lanes that train, or wait for their place.
            num_begun: Trials that were begun until now.
        """
        if self._clock() >= self._next_look:
            self._look(num_busy, wanted=min(self._most, num_busy + self._num_trials - num_begun))
            self._next_look = self._clock() + LOOK_SECONDS
        return num_busy < self._num_lanes

    def _look(self, num_busy: int, *, wanted: int) -> None:
        num_lanes = min(self._most, count_lanes(self._lanes, self._nodes()))
        if num_lanes != self._num_lanes:
            self._num_lanes = num_lanes
            self._on_change(num_lanes)
        if self._growth is None:
            return
        # What is free is for a lane. Beyond, at most twice as many, as autoscalers grow themselves: a thousand requests
        # would slow Ray's scheduler down.
        is_full = num_busy >= num_lanes
        self._growth.ask(min(max(0, wanted - num_lanes), max(1, num_lanes)) if is_full else 0)
