"""Loader processes return results in order, pass errors on, and say when one of them was killed."""

import os
import signal

import pytest

from model.training.loader_processes import LoaderProcesses, ProcessLost


def test_processes_return_results_in_order_from_more_than_one_process():
    def square(task: int) -> tuple[int, int]:
        return task**2, os.getpid()

    squares = LoaderProcesses(square, num_processes=2)
    for tasks in (range(10), [7], [], range(5)):
        found = list(squares(tasks))
        assert [result for result, _ in found] == [task**2 for task in tasks]
        assert os.getpid() not in {pid for _, pid in found}
        assert len(found) < 2 or len({pid for _, pid in found}) == 2


def test_processes_raise_what_the_function_raises_and_continue():
    def divide(task: int) -> int:
        return 12 // task

    divided = LoaderProcesses(divide, num_processes=2)
    with pytest.raises(ZeroDivisionError):
        list(divided([3, 0, 4]))
    assert list(divided([3, 4])) == [4, 3]


def test_processes_say_that_one_was_killed():
    def die(task: int) -> int:
        if task == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    with pytest.raises(ProcessLost, match="DataLoader worker"):
        list(LoaderProcesses(die, num_processes=2)(range(4)))


def test_processes_say_that_one_was_killed_since_the_last_epoch():
    processes = LoaderProcesses(lambda task: os.getpid(), num_processes=2)
    one, *_ = processes(range(4))
    os.kill(one, signal.SIGKILL)
    with pytest.raises(ProcessLost, match="DataLoader worker"):
        list(processes(range(4)))
