"""A rank's training batches, augmented by a thread, or by processes for a device that is faster than a thread.

Augmentation holds Python's lock for most of its time: a second thread gains a sixth, a second process nearly doubles it
(LOG.md).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from data.augment import AugmentConfig, build_augment
from data.loaders import Batch, augmented, train_batches
from data.pack import Pack

Part = TypeVar("Part")
Result = TypeVar("Result")


@contextmanager
def train_loader(
    pack: Pack, *, batch_size: int, seed: int, rank: int, world_size: int, augment: float, num_processes: int
) -> Iterator[Callable[..., Iterator[Batch]]]:
    """Yields batches(epoch=..., first=...): `train_batches` of all slices, augmented with this strength.

    num_processes augment, as long as the context lasts; 0: a thread does, for each epoch.
    """
    change = build_augment(AugmentConfig(strength=augment))
    with ExitStack() as stack:
        processes = None
        if num_processes and change:
            processes = Processes(partial(augmented, pack, change), num_processes=num_processes)
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
    """A process died, by a signal or for want of memory: what it computed is innocent."""


class Processes(Generic[Part, Result]):
    """Processes that live until they are closed; forked at the first call, so that make's data are not copied."""

    def __init__(self, make: Callable[[Part], Result], *, num_processes: int) -> None:
        assert num_processes >= 1, num_processes
        self._parts: list[Part] = []
        self._loader: DataLoader | None = DataLoader(
            _Made(make),
            sampler=self._parts,
            batch_size=None,  # a part is a batch already
            collate_fn=_as_it_is,
            num_workers=num_processes,
            persistent_workers=True,
            multiprocessing_context="fork",
            generator=torch.Generator(),  # not the global one: dropout draws from that
        )

    def __call__(self, parts: Sequence[Part]) -> Iterator[Result]:
        """Returns make(part) for each part, in order; what an earlier call has not yet returned is dropped.

        Raises:
            ProcessLost: A process died; from the iterator, as is what make raises.
        """
        self._parts[:] = parts
        return _results(iter(self._loader))

    def close(self) -> None:
        """End the processes, once nothing iterates over their results any more.

        Left to the garbage collector, which ends the queues before their loader, each would be waited for, for 5 s.
        """
        self._loader = None


def _results(found: Iterator[Result]) -> Iterator[Result]:
    try:
        yield from found
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):  # PyTorch has no type for it
            raise
        raise ProcessLost(str(error)) from error


class _Made(Dataset):
    def __init__(self, make: Callable) -> None:
        self._make = make

    def __getitem__(self, part: Part) -> Result:
        return self._make(part)


def _as_it_is(result: Result) -> Result:
    # Tensors would travel through /dev/shm, of which a container has 64 MB unless told otherwise.
    return result
