"""The training batches of a rank, augmented in a thread, or in processes if a thread is too slow for the device.

Augmentation holds Python's global lock for most of its time: a second thread gains a sixth, a second process nearly
doubles the speed (tests/benchmarks/LOG.md).
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from data.augmentation.augment import AugmentConfig, build_augment
from data.loaders import Batch, augmented, train_batches
from data.packing.pack import Pack

Task = TypeVar("Task")
Result = TypeVar("Result")


@contextmanager
def train_loader(
    pack: Pack, *, batch_size: int, seed: int, rank: int, world_size: int, augment: AugmentConfig, num_processes: int
) -> Iterator[Callable[..., Generator[Batch, None, None]]]:
    """Yield a function batches(epoch=..., first=...) that returns `train_batches` of all slices of the pack.

    Args:
        augment: How slices are changed at random.
        num_processes: Number of processes that augment while the context lasts; with 0, a thread does.
    """
    change = build_augment(augment)
    with ExitStack() as stack:
        processes = None
        if num_processes and change:
            processes = LoaderProcesses(partial(augmented, pack, change), num_processes=num_processes)
            stack.callback(processes.close)
        yield partial(
            train_batches,
            pack,
            np.arange(pack.num_slices),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            augment=change,
            processes=processes,
        )


class ProcessLost(RuntimeError):
    """A process was killed by a signal or ran out of memory; its task is not at fault."""


class LoaderProcesses(Generic[Task, Result]):
    """Processes that apply one function to tasks until they are closed.

    They are forked at the first call, so that they share the function's data instead of copying them.
    """

    def __init__(self, function: Callable[[Task], Result], *, num_processes: int) -> None:
        assert num_processes >= 1, num_processes
        self._tasks: list[Task] = []
        self._loader: DataLoader[Result] | None = DataLoader(
            _Computed(function),
            sampler=self._tasks,
            batch_size=None,  # a task is a whole batch already
            collate_fn=_unchanged,
            num_workers=num_processes,
            persistent_workers=True,
            multiprocessing_context="fork",
            generator=torch.Generator(),  # the global generator is for dropout
        )

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """Return an iterator over function(task) for each task, in order; it raises whatever the function raises.

        Results of an earlier call that were not taken yet are dropped.

        Raises:
            ProcessLost: A process died, since the last call or while the iterator is used.
        """
        assert self._loader is not None, "the processes are closed"
        self._tasks[:] = tasks
        with _process_lost():
            return _results(iter(self._loader))

    def close(self) -> None:
        """End the processes as soon as nothing iterates over their results any more.

        The garbage collector could close the queues before their loader, which would then wait 5 s for each process.
        """
        self._loader = None


def _results(found: Iterator[Result]) -> Iterator[Result]:
    with _process_lost():
        yield from found


@contextmanager
def _process_lost() -> Iterator[None]:
    """Raise ProcessLost in place of PyTorch's error."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):  # PyTorch has no exception of its own for it
            raise
        raise ProcessLost(str(error)) from error


class _Computed(Dataset[Any]):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __getitem__(self, task: Any) -> Any:
        return self._function(task)


def _unchanged(result: Result) -> Result:
    # Tensors would travel through /dev/shm, of which a container has 64 MB by default.
    return result
