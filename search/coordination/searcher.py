"""What a coordinator needs of a searcher (search/suggestion has those that suggest anything)."""

from collections.abc import Mapping
from typing import Protocol

from search.record.trials import State
from search.suggestion.searcher import Observation, Suggestion


class Searcher(Protocol):
    """What a coordinator needs of a searcher."""

    def suggest(self) -> Suggestion:
        """Return the next configuration."""
        ...

    def report(self, number: int, epoch: int, value: float, *, costs: Mapping[str, float]) -> None:
        """Take in the validation Dice of an epoch."""

    def end(self, number: int, state: State) -> None:
        """Take in how a trial ended."""

    def restore(self, number: int, observation: Observation) -> None:
        """Take in a trial of this search that was suggested before a restart."""
