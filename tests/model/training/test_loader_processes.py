"""Processes: results in order, errors as they are, and a death that is called one."""

import os
import signal

import pytest

from model.training.loader_processes import Processes, ProcessLost


def test_processes_return_results_in_order_from_more_than_one_process():
    squares = Processes(lambda part: (part**2, os.getpid()), num_processes=2)
    for parts in (range(10), [7], [], range(5)):
        found = list(squares(parts))
        assert [square for square, _ in found] == [part**2 for part in parts]
        assert os.getpid() not in {pid for _, pid in found}
        assert len(found) < 2 or len({pid for _, pid in found}) == 2


def test_processes_raise_what_make_raises_and_go_on():
    def divide(part):
        return 12 // part

    divided = Processes(divide, num_processes=2)
    with pytest.raises(ZeroDivisionError):
        list(divided([3, 0, 4]))
    assert list(divided([3, 4])) == [4, 3]


def test_processes_say_that_one_was_killed():
    def die(part):
        if part == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return part

    with pytest.raises(ProcessLost, match="DataLoader worker"):
        list(Processes(die, num_processes=2)(range(4)))
