"""A rung of successive halving: the trials that reached the same epoch, where they are compared."""

import bisect
import math
from collections import Counter
from dataclasses import dataclass, field

from search.record.objectives import dominates


@dataclass
class Rung:
    """The trials that reached one epoch: those that are paused, and those that were promoted to the next rung."""

    epoch: int
    capacity: int
    """The most trials that can ever be promoted from here."""

    arrived: dict[int, tuple[float, ...]] = field(default_factory=dict)
    """Merits of all trials that reached the rung, by number."""

    num_better: Counter[int] = field(default_factory=Counter)
    """How many of the trials that arrived dominate a trial, by its number; counted with several objectives only."""

    promoted: set[int] = field(default_factory=set)
    paused: list[int] = field(default_factory=list)
    """The paused trials, the best first; among equals the one with the lower number first."""

    def arrive(self, number: int, merits: tuple[float, ...]) -> None:
        """Add a trial to those that are paused here.

        With several objectives, a trial is ranked by how many others dominate it (Fonseca & Fleming 1993), and then by
        the first objective.
        """
        if len(merits) > 1:
            for other, others_merits in self.arrived.items():
                self.num_better[number] += dominates(others_merits, merits)
                self.num_better[other] += dominates(merits, others_merits)
        self.arrived[number] = merits
        if len(merits) > 1:  # the new trial has changed the ranks of the others
            self.paused.sort(key=self._sort_key)
        bisect.insort(self.paused, number, key=self._sort_key)

    def _sort_key(self, number: int) -> tuple[tuple[int, float], int]:
        return self.rank(number), number

    def rank(self, number: int) -> tuple[int, float]:
        """Return a sort key, which is smaller for a better trial."""
        return self.num_better[number], -self.arrived[number][0]

    def has_promotable(self, reduction_factor: int) -> bool:
        """Return whether a trial is paused and the quota, floor(arrived / reduction_factor), is not used up."""
        return bool(self.paused) and len(self.promoted) < len(self.arrived) // reduction_factor

    def best_is_paused(self) -> bool:
        """Return whether a paused trial is better than all that were promoted, as one that arrived late can be."""
        promoted = (self.rank(number) for number in self.promoted)
        return bool(self.paused) and self.rank(self.paused[0]) < min(promoted, default=(math.inf, math.inf))

    def hopeless(self) -> list[int]:
        """Return the paused trials that can never be promoted.

        A later arrival can lift a trial above others by dominating those, but never above the trial's own dominators.
        """
        room = max(1, self.capacity - len(self.promoted))  # the best may be promoted when the search ends
        last = self.paused[room:]
        if not self.num_better:
            return last
        return [number for number in last if sum(self._stays_before(other, number) for other in self.paused) >= room]

    def _stays_before(self, number: int, other: int) -> bool:
        merits, others_merits = self.arrived[number], self.arrived[other]
        return dominates(merits, others_merits) or (merits == others_merits and number < other)

    def remove(self, number: int) -> None:
        """Remove a trial from those that are paused; it still counts among those that arrived."""
        if number in self.paused:
            self.paused.remove(number)

    def promote(self, number: int) -> None:
        """Let a trial continue to the next rung."""
        self.remove(number)
        self.promoted.add(number)
