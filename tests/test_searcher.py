"""The searcher, driven by hand as Tune would, on a learning curve in closed form: what the study is told, and what it
suggests then.
"""

import math
import statistics
from pathlib import Path
from typing import Any

import optuna
import pytest
from fakes import learning_curve
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.scheduler import Rungs
from search.searcher import OptunaSearcher, open_study
from search.space import CORE, WIDE

MAX_EPOCHS = 9


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal.log"


def make_searcher(journal: Path | None, *, num_trials: int = 12, seed: int = 0, space=CORE) -> OptunaSearcher:
    """Return a searcher with a study in this journal, or in memory where a test needs none on disk."""
    study = open_study(journal, "small") if journal else optuna.create_study(direction="maximize")
    return OptunaSearcher(study, space, num_trials=num_trials, seed=seed)


def result(epoch: int, dice: float, *, finished: bool = False, failure: str | None = None) -> dict[str, Any]:
    return {"epoch": epoch, "val_dice": dice, "finished": finished, "failure": failure}


def train_trial(searcher: OptunaSearcher, rungs: Rungs, tune_id: str) -> dict[str, Any]:
    """Return the suggestion that was trained: like Tune, which does not show the searcher a trial's last result."""
    suggestion = searcher.suggest(tune_id)
    for epoch in range(1, MAX_EPOCHS + 1):
        dice = learning_curve(suggestion["sample"], epoch)
        last = result(epoch, dice, finished=epoch == MAX_EPOCHS)
        if last["finished"] or not rungs.record(tune_id, epoch, dice):
            searcher.on_trial_complete(tune_id, last)
            break
        searcher.on_trial_result(tune_id, last)
    return suggestion


def search(journal=None, *, num_trials: int, seed: int = 0, space=CORE, restart_at: int | None = None) -> list[dict]:
    """Return the suggestions of a whole search, by a second searcher from the trial `restart_at` on."""
    searcher = make_searcher(journal, num_trials=num_trials, seed=seed, space=space)
    rungs = Rungs(max_epochs=MAX_EPOCHS, grace_period=1, reduction_factor=3)
    suggestions = []
    for number in range(num_trials):
        if number == restart_at:
            searcher = make_searcher(journal, num_trials=num_trials, seed=seed, space=space)
        suggestions.append(train_trial(searcher, rungs, f"tune-{number}"))
    return suggestions


def trials(journal: Path) -> list[optuna.trial.FrozenTrial]:
    """Return what the journal says, read anew."""
    return open_study(journal, "small").trials


def test_searcher_tells_a_complete_trial_with_its_best_epoch(journal):
    searcher = make_searcher(journal)
    assert searcher.suggest("a")["number"] == 0
    searcher.on_trial_result("a", result(1, 0.5))
    searcher.on_trial_result("a", result(2, 0.75))
    searcher.on_trial_complete("a", result(3, 0.625, finished=True))
    [trial] = trials(journal)
    assert trial.state == TrialState.COMPLETE
    assert trial.value == 0.75
    assert trial.intermediate_values == {1: 0.5, 2: 0.75, 3: 0.625}


def test_searcher_tells_a_stopped_trial_as_pruned_with_the_epoch_it_was_stopped_at(journal):
    searcher = make_searcher(journal)
    searcher.suggest("a")
    searcher.on_trial_result("a", result(1, 0.5))
    searcher.on_trial_complete("a", result(2, 0.25))
    [trial] = trials(journal)
    assert trial.state == TrialState.PRUNED
    assert trial.intermediate_values == {1: 0.5, 2: 0.25}


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (result(2, math.nan, finished=True, failure="train_loss was nan in epoch 2"), False),
        (result(0, math.nan, finished=True, failure="RuntimeError: out of memory"), False),
        (result(2, 0.5), True),
        (None, True),
        (None, False),
    ],
    ids=["nan", "raised", "lost", "lost at once", "no result"],
)
def test_searcher_tells_failures_as_fail_and_leaves_no_ghost(journal, last, error):
    searcher = make_searcher(journal)
    searcher.suggest("a")
    searcher.on_trial_result("a", result(1, 0.5))
    searcher.on_trial_complete("a", last, error=error)
    [trial] = trials(journal)
    assert trial.state == TrialState.FAIL
    assert trial.intermediate_values[1] == 0.5
    assert all(math.isfinite(value) for value in trial.intermediate_values.values())
    assert searcher.suggest("b")["number"] == 1


def test_searcher_tells_a_trial_whose_dice_was_never_finite_as_fail(journal):
    # Validation patients without tumour, and a network that finds none: their Dice is undefined to the end.
    searcher = make_searcher(journal)
    searcher.suggest("a")
    searcher.on_trial_complete("a", result(1, math.nan, finished=True))
    assert [trial.state for trial in trials(journal)] == [TrialState.FAIL]


def test_searcher_counts_an_epoch_that_is_done_again_once(journal):
    searcher = make_searcher(journal)
    searcher.suggest("a")
    for epoch, dice in ((1, 0.5), (2, 0.625), (2, 0.625), (3, 0.75)):
        searcher.on_trial_result("a", result(epoch, dice))
    searcher.on_trial_complete("a", result(3, 0.75, finished=True))
    assert trials(journal)[0].intermediate_values == {1: 0.5, 2: 0.625, 3: 0.75}


def test_searcher_ends_a_trial_once_and_ignores_strangers(journal):
    searcher = make_searcher(journal)
    searcher.suggest("a")
    searcher.on_trial_complete("a", result(1, 0.5, finished=True))
    searcher.on_trial_complete("a", None, error=True)
    searcher.on_trial_result("a", result(2, 0.9))
    searcher.on_trial_complete("stranger", result(1, 0.9, finished=True))
    assert [(trial.state, trial.value) for trial in trials(journal)] == [(TrialState.COMPLETE, 0.5)]


def test_searcher_stop_unfinished_leaves_no_running_trial(journal):
    searcher = make_searcher(journal)
    for name in "abc":
        searcher.suggest(name)
    searcher.on_trial_result("b", result(1, 0.5))
    searcher.on_trial_complete("c", result(1, 0.25, finished=True))
    searcher.stop_unfinished()
    searcher.stop_unfinished()
    assert [trial.state for trial in trials(journal)] == [TrialState.PRUNED, TrialState.PRUNED, TrialState.COMPLETE]
    assert trials(journal)[1].intermediate_values == {1: 0.5}


def test_searcher_is_finished_after_its_trials_and_so_is_the_next_one(journal):
    searcher = make_searcher(journal, num_trials=2)
    assert [searcher.suggest(name)["number"] for name in "ab"] == [0, 1]
    assert searcher.suggest("c") == Searcher.FINISHED
    assert make_searcher(journal, num_trials=2).suggest("c") == Searcher.FINISHED
    assert make_searcher(journal, num_trials=3).suggest("c")["number"] == 2


@pytest.mark.parametrize("space", [CORE, WIDE], ids=["core", "wide"])
def test_searcher_suggests_every_axis_within_its_bounds(space):
    for suggestion in search(num_trials=12, space=space):
        assert suggestion["sample"].keys() == space.keys()
        for name, axis in space.items():
            value = suggestion["sample"][name]
            assert value in getattr(axis, "choices", [value])
            assert getattr(axis, "low", value) <= value <= getattr(axis, "high", value)


def test_searcher_with_one_seed_repeats_and_with_another_does_not():
    one, same, other = (search(num_trials=15, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert all(a["sample"] != b["sample"] for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("restart_at", [1, 4, 9])
@pytest.mark.parametrize("space", [CORE, WIDE], ids=["core", "wide"])
def test_searcher_made_again_from_the_journal_goes_on_as_if_never_stopped(tmp_path, space, restart_at):
    whole = search(tmp_path / "whole.log", num_trials=10, space=space)
    assert search(tmp_path / "parts.log", num_trials=10, space=space, restart_at=restart_at) == whole


def test_search_beats_chance():
    """It is compared with as many random trials, none of them stopped early: with fewer epochs it finds more."""
    searched, random = [], []
    for seed in range(4):
        samples = [suggestion["sample"] for suggestion in search(num_trials=30, seed=seed)]
        searched.append(max(learning_curve(sample, MAX_EPOCHS) for sample in samples))
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        random.append(max(learning_curve(study.ask(CORE).params, MAX_EPOCHS) for _ in range(30)))
    assert statistics.mean(searched) > statistics.mean(random) + 0.005
    assert min(searched) > 0.86  # of 0.89


def test_search_stops_most_trials_early(journal):
    search(journal, num_trials=12)
    states = [trial.state for trial in trials(journal)]
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert states.count(TrialState.PRUNED) > 6
