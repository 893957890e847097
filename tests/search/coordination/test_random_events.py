"""Random sequences of events against a model: reports, losses, stops, kills and crashes in any order.

SEQUENCES=100000 python -m pytest -m slow -n 0 FILE plays that many, from the seed FIRST_SEED on. A failure names its
seed; `play(SEED)` plays it again, and hypothesis, which plays fewer, prints the shortest sequence that it can find.
"""

import inspect
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from search.record.trials import INTERRUPTED, TIME_SPENT, State
from tests.support.played_lanes import Kind, Reports, Written
from tests.support.played_search import LOST, PlayedSearch, Setting

NUM_EVENTS = 40

LEGAL: dict[str, Sequence] = {
    "scheduler": ["asha", "asha", "hyperband", "median", "none"],
    "searcher": ["plain", "plain", "plain", "random"],
    "num_lanes": [1, 1, 2, 3],
    "num_trials": range(1, 9),
    "max_failures": [1000, 1000, 1],
    "checkpoints_gb": [None, None, None, 2e-6],
    "seed": range(1000),
    "slot": range(3),
    "num_steps": range(1, 9),
    "kind": list(Kind),
    "back": range(4),
    "written": list(Written),
    "num_batches": range(4),
    "reason": [INTERRUPTED, TIME_SPENT],
    "torn": [b"", b'{"event": "epo', b'{"event": "begin", "number": 7}'],
    "num_missing": range(1, 3000),
}
"""What each argument of an event is drawn from."""


def drawn(*names: str) -> dict[str, Any]:
    return {name: st.sampled_from(LEGAL[name]) for name in names}


class RandomEvents(RuleBasedStateMachine):
    """Plays events, each of which leaves the search in a state that is checked."""

    @initialize(**drawn("scheduler", "searcher", "num_lanes", "num_trials", "max_failures", "checkpoints_gb", "seed"))
    def begin(self, *, seed, **options):
        memory = Path("/dev/shm")
        self.scratch = Path(tempfile.mkdtemp(prefix="played-", dir=memory if memory.exists() else None))
        self.setting, self.reports = Setting(**options), Reports(seed)
        self.search = PlayedSearch(self.setting, self._folder("search"), self.reports)
        self.has_moved = False

    @rule(**drawn("slot", "num_steps"))
    def work(self, slot, num_steps):
        for _ in range(num_steps):
            self.search.step(self._slot(slot))

    @rule(**drawn("slot", "kind"))
    def plan(self, slot, kind):
        """Make the next epoch of a lane one that is out of the ordinary, if it was never trained before."""
        lane = self.search.lanes[self._slot(slot)]
        if lane is not None and lane.report is None:
            epoch = lane.number, lane.epoch + 1
            if self.search.books.num_trained[epoch] == 0:
                self.reports.kinds.setdefault(epoch, kind)

    @rule(**drawn("slot"))
    def refuse(self, slot):
        lane = self.search.lanes[self._slot(slot)]
        if lane is not None and lane.report is not None:
            self.search.save(self._slot(slot), is_refused=True)

    @rule(**drawn("slot", "back"))
    def tell_again(self, slot, back):
        lane = self.search.lanes[self._slot(slot)]
        if lane is not None and lane.epoch > back and not lane.ends:
            self.search.tell_again(self._slot(slot), lane.epoch - back)

    @rule(**drawn("slot", "written"))
    def lose(self, slot, written):
        if self.search.lanes[self._slot(slot)] is not None:
            self.search.lose(self._slot(slot), written)

    @rule(**drawn("slot", "num_batches"))
    def halt(self, slot, num_batches):
        lane = self.search.lanes[self._slot(slot)]
        if lane is not None and lane.report is None:
            self.search.halt(self._slot(slot), num_batches)

    @rule(**drawn("reason", "written"))
    def stop(self, reason, written):
        self.search.stop(reason, written)

    @rule(**drawn("written", "torn"))
    def kill(self, written, torn):
        self.search.die(written, torn=torn)

    @rule(**drawn("written", "num_missing"))
    def crash(self, written, num_missing):
        self.search.die(written, num_missing=num_missing)

    @rule(**drawn("written", "num_missing"))
    def move(self, written, num_missing):
        """Let the machine be gone, and another one resume from the bucket."""
        self.has_moved = True
        self.search.die(written, num_missing=num_missing, from_bucket=True)

    @rule()
    def look(self):
        self.search.check_log()

    @invariant()
    def every_trial_is_in_one_state(self):
        self.search.check()

    def teardown(self):
        try:
            if sys.exc_info()[0] is None:
                self.finish()
        finally:
            shutil.rmtree(self.scratch)

    def finish(self) -> None:
        """End the search without further accidents; with one lane the table is that of a search without any."""
        self.search.check_log()
        table = self.search.finish()
        assert {row[1] for row in table} <= set(State)
        has_one_order = self.setting.num_lanes == 1 or self.setting.scheduler == "none"
        is_disturbed = self.has_moved or self.setting.checkpoints_gb or any(error == LOST for *_, error in table)
        if has_one_order and not is_disturbed:
            assert table == PlayedSearch(self.setting, self._folder("undisturbed"), self.reports).finish()

    def _folder(self, name: str) -> Path:
        folder = self.scratch / name
        folder.mkdir()
        return folder

    def _slot(self, slot: int) -> int:
        return slot % self.setting.num_lanes


EVENTS = ["work"] * 6 + ["plan", "refuse", "tell_again", "lose", "halt", "stop", "kill", "crash", "move", "look"]
SETTING = ["scheduler", "searcher", "num_lanes", "num_trials", "max_failures", "checkpoints_gb", "seed"]


def play(seed: int) -> None:
    """Play a sequence of events without hypothesis, ten times as fast."""
    rng = random.Random(seed)

    def draw(names: Sequence[str]) -> dict[str, Any]:
        return {name: rng.choice(LEGAL[name]) for name in names}

    machine, happened = RandomEvents(), [("begin", draw(SETTING))]
    calm = set(rng.sample(EVENTS[6:], rng.randrange(9)))  # some sequences are without some kinds of events
    legal = [name for name in EVENTS if name not in calm]
    try:
        machine.begin(**happened[0][1])
        for _ in range(rng.randrange(NUM_EVENTS)):
            event = getattr(machine, rng.choice(legal))
            happened.append((event.__name__, draw(list(inspect.signature(event).parameters))))
            event(**happened[-1][1])
            machine.every_trial_is_in_one_state()
        machine.finish()
    except Exception as error:
        raise AssertionError(
            "\n".join([f"seed {seed}:", *(f"{name} {values}" for name, values in happened)])
        ) from error
    finally:
        shutil.rmtree(machine.scratch)


def test_no_sequence_of_events_loses_or_repeats_an_epoch_or_changes_the_table():
    options = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    run_state_machine_as_test(
        RandomEvents, settings=settings(max_examples=10, stateful_step_count=NUM_EVENTS, **options)
    )


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_many_sequences_of_events(capsys):
    first, number, started = (
        int(os.environ.get("FIRST_SEED", 0)),
        int(os.environ.get("SEQUENCES", 2000)),
        time.monotonic(),
    )
    for seed in range(first, first + number):
        play(seed)
    with capsys.disabled():
        print(f"{number} sequences from seed {first} on in {time.monotonic() - started:.0f} s")
