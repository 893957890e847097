"""A searcher that suggests a number, in microseconds, and checks that it is told of each trial as the protocol says."""

from collections.abc import Mapping

from search.record.trials import State
from search.suggestion.searcher import NO_COSTS, Observation, Suggestion


class PlainSearcher:
    """Suggests each trial's own number."""

    def __init__(self) -> None:
        self._num_suggested = 0
        self._running: set[int] = set()

    def suggest(self) -> Suggestion:
        number = self._add()
        return Suggestion(number=number, sample={"number": number}, attrs={})

    def report(self, number: int, epoch: int, value: float, *, costs: Mapping[str, float] = NO_COSTS) -> None:
        assert number in self._running

    def end(self, number: int, state: State) -> None:
        self._running.remove(number)

    def restore(self, number: int, observation: Observation) -> None:
        assert number == self._add()
        assert observation.sample == {"number": number}

    def _add(self) -> int:
        number = self._num_suggested
        self._num_suggested += 1
        self._running.add(number)
        return number
