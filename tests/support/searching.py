"""A searcher without a search: trials on a closed-form learning curve, and the study that they leave."""

import json
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.record.trials import Sample, State
from search.space.named import CORE
from search.space.space import Space
from search.suggestion.searcher import Observation, OptunaSearcher, Suggestion
from tests.support.fakes import learning_curve

MAX_EPOCHS = 9
FULL = {"learning_rate": 0.002, "depth": 4, "dropout": 0.1, "bce_weight": 0.4}
MIXED = (State.COMPLETE, State.PRUNED, None, State.FAILED)
"""How trials end, in turn; None for one that has not ended."""


def make_searcher(
    sampler: str = "tpe", *, space: Space = CORE, seed: int = 0, num_trials: int = 12, **options: Any
) -> OptunaSearcher:
    return OptunaSearcher(space, max_epochs=MAX_EPOCHS, sampler=sampler, seed=seed, num_trials=num_trials, **options)


def train(
    searcher: OptunaSearcher, state: State | None = State.COMPLETE, *, num_epochs: int = MAX_EPOCHS
) -> Suggestion:
    """Train the next suggestion and return it; its trial ends in a state, or not at all if that is None."""
    suggestion = searcher.suggest()
    for epoch in range(1, num_epochs + 1):
        searcher.report(suggestion.number, epoch, learning_curve(suggestion.sample, epoch))
    if state is not None:
        searcher.end(suggestion.number, state)
    return suggestion


def search(searcher: OptunaSearcher, num_trials: int, states: tuple[State | None, ...] = MIXED) -> list[Suggestion]:
    """Train the next suggestions and return them; the number of a trial decides its epochs and its state."""
    suggestions = []
    for number in range(searcher.num_suggested, searcher.num_suggested + num_trials):
        state = states[number % len(states)]
        suggestions.append(train(searcher, state, num_epochs=_num_epochs(number, state)))
    return suggestions


def _num_epochs(number: int, state: State | None) -> int:
    match state:
        case State.COMPLETE:
            return MAX_EPOCHS
        case State.FAILED:
            return number % 2
        case _:
            return 1 + number % 5


def observed(suggestion: Suggestion, states: tuple[State | None, ...] = MIXED) -> Observation:
    """Return what the log says of a suggestion that `search` trained."""
    state = states[suggestion.number % len(states)]
    num_epochs = _num_epochs(suggestion.number, state)
    sample, attrs = json.loads(json.dumps([suggestion.sample, suggestion.attrs]))
    values = {epoch: learning_curve(sample, epoch) for epoch in range(1, num_epochs + 1)}
    return Observation(sample=sample, values=values, state=state, attrs=attrs)


def samples_of(suggestions: list[Suggestion]) -> list[Sample]:
    return [suggestion.sample for suggestion in suggestions]


def in_space(sample: Sample, space: Space) -> bool:
    """Return whether a sample has every axis of a space and nothing else, with values of the right type and range."""
    return sample.keys() == space.keys() and all(_is_on(space[name], value) for name, value in sample.items())


def _is_on(axis: BaseDistribution, value: object) -> bool:
    match axis:
        case CategoricalDistribution():
            return value in axis.choices
        case IntDistribution():
            return isinstance(value, int) and axis.low <= value <= axis.high
        case FloatDistribution():
            return isinstance(value, int | float) and axis.low <= value <= axis.high
    raise AssertionError(f"{axis} is a kind of axis that no space has")


def study_of(journal: Path, name: str = "search") -> optuna.Study:
    """Return the study in a journal file, opened with Optuna alone."""
    return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(journal))))


def earlier_trials(num_trials: int) -> list[Observation]:
    """Return complete trials of a random search, as another search can start from."""
    suggestions = search(make_searcher("random", seed=1), num_trials, (State.COMPLETE,))
    return [observed(suggestion, (State.COMPLETE,)) for suggestion in suggestions]


ONE_AXIS = Space({"dropout": FloatDistribution(0.0, 0.5)})


def train_by_hand(searcher: OptunaSearcher, values: list[float], state: State | None) -> None:
    """Report these values for the next suggestion, and end its trial unless the state is None."""
    number = searcher.suggest().number
    for epoch, value in enumerate(values, start=1):
        searcher.report(number, epoch, value)
    if state is not None:
        searcher.end(number, state)
