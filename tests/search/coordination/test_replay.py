"""A log, replayed without a searcher: the trials are those of the search that wrote it."""

import itertools

import pytest

from search.coordination.coordinator import Coordinator
from search.coordination.replay import NoSearcher, replay
from search.scheduling.scheduler import SchedulerRequest
from search.scheduling.schedulers import SCHEDULERS
from search.space.named import CORE
from search.suggestion.searcher import OptunaSearcher
from tests.support.fakes import Rows, learning_curve
from tests.support.simulation import simulate

REQUEST = SchedulerRequest(num_trials=9, max_epochs=9, grace_period=1, reduction_factor=3)


@pytest.mark.parametrize("num_epochs", [1, 7, 100])
@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "none"])
def test_replay_gives_the_trials_of_the_search_that_wrote_the_log(tmp_path, scheduler, num_epochs):
    log = tmp_path / "events.jsonl"
    search = Coordinator(
        OptunaSearcher(CORE, sampler="random", seed=0, num_trials=9, max_epochs=9),
        SCHEDULERS[scheduler].make(REQUEST),
        num_trials=9,
        listener=Rows(),
        log=log,
    )
    epochs = simulate(search, lambda leg, epoch: learning_curve(leg.sample, epoch), max_epochs=9)
    list(itertools.islice(epochs, num_epochs))
    before = log.read_bytes()
    trials = replay(log, SCHEDULERS[scheduler].make(REQUEST), num_trials=9, objectives=("val_dice",), max_failures=3)
    assert [trial.number for trial in trials] == list(search.trials)
    for trial, original in zip(trials, search.trials.values(), strict=True):
        assert (trial.sample, trial.all_epochs) == (original.sample, original.all_epochs)
        assert trial.outcome == original.outcome
    assert log.read_bytes() == before


def test_a_replayed_log_suggests_nothing():
    with pytest.raises(NotImplementedError, match="a replayed log suggests no trials"):
        NoSearcher().suggest()
