"""The protocol of searchers, as the coordinator uses them (search/suggestion/searcher.py has the real one)."""

from collections.abc import Mapping
from typing import Protocol

from search.record.trials import State
from search.suggestion.searcher import Observation, Suggestion


class Searcher(Protocol):
    """Suggests configurations, and learns from the trials."""

    def suggest(self) -> Suggestion:
        """Return the next configuration."""
        ...

    def report(self, number: int, epoch: int, value: float, *, costs: Mapping[str, float]) -> None:
        """Record the validation Dice of an epoch, and the other objectives."""

    def end(self, number: int, state: State) -> None:
        """Record how a trial ended."""

    def restore(self, number: int, observation: Observation) -> None:
        """Add a trial of this search that was suggested before a restart; call it in the order of the numbers."""
