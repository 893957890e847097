"""A deadline holds on the machine that made it although its clock is set, and on others by their clocks."""

import time
from dataclasses import replace

import pytest

from search.planning.deadline import Deadline


@pytest.mark.parametrize("jump", [-3600.0, 86400.0], ids=["an hour back", "a day ahead"])
def test_deadline_holds_when_the_clock_is_set(jump, monkeypatch):
    soon, over, real = Deadline.after(60), Deadline.after(-1), time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert not soon.has_passed
    assert over.has_passed


def test_deadline_of_another_machine_is_compared_by_the_wall_clock():
    elsewhere = replace(Deadline.after(60), machine="another", monotonic=0.0)
    assert not elsewhere.has_passed
    assert replace(elsewhere, wall=time.time() - 1).has_passed
