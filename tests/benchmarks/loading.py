"""How fast the loader is, and how long a training step waits for it: the pack against reading TIFFs slice by slice.

    python tests/benchmarks/loading.py [--data phantom:24] [--rounds 5]

`naive` is what a training script without a pack does: a torch Dataset that opens the two TIFFs of a slice, fits and
augments them as the pack's loader does, behind a DataLoader. Both run with 0 and with 2 processes beside their own, and
of each the faster one counts. They see the same slices in the same order, in turns; the ratio is that of the medians.
The share of waiting is of a training epoch of a U-Net on this machine. The last line is one JSON object.
"""

import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch.utils.data import DataLoader, Dataset

from data.augment import AugmentConfig, build_augment
from data.loaders import epoch_slices
from data.pack import Pack, pack_patients
from data.patient import SliceFiles, SlicePatient
from data.preprocess import Preprocessing, fit_image, fit_mask
from data.source import find_source
from model.training.loader_processes import train_loader
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from search.record.provenance import commit

KINDS = ("naive", "pack")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure the loader."""

    data: str = "phantom:24"
    """As the search's option; slices must be files of their own."""

    size: int = 128
    """Side of a slice in pixels."""

    batch_size: int = 16
    """Slices of a batch."""

    rounds: int = 5
    """Epochs that each loader prepares."""

    augment: float = 1.0
    """Strength of augmentation, of both; 0 is none."""


class NaiveSlices(Dataset):
    """Slices as files: opened, fitted, augmented and normalised one by one, every time."""

    def __init__(self, patients: tuple[SlicePatient, ...], pack: Pack, augment: float) -> None:
        self._files: list[SliceFiles] = [files for patient in patients for files in patient.slices]
        self._read = patients[0].read_slice
        self._mean, self._std = pack.mean[pack.patient_of_slice], pack.std[pack.patient_of_slice]
        self._size = pack.size
        self._strength = augment
        self._augment = None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self._augment is None and self._strength:  # a transform cannot be sent to another process
            self._augment = build_augment(AugmentConfig(strength=self._strength))
        image, mask = self._read(self._files[index])
        image, mask = fit_image(image, self._size), fit_mask(mask, self._size)
        if self._augment is not None:
            image, mask = self._augment(image, mask, int(index))
        normalised = (image.astype(np.float32) - self._mean[index]) / self._std[index]
        return torch.from_numpy(normalised.transpose(2, 0, 1)), torch.from_numpy(mask[None].astype(np.float32))


def main(arguments: Arguments) -> None:
    with ExitStack() as stack:
        _measure(arguments, stack)


def _measure(arguments: Arguments, stack: ExitStack) -> None:
    patients = find_source(arguments.data, phantom_root=Path(tempfile.gettempdir())).patients
    pack = pack_patients(patients, Preprocessing(size=arguments.size))
    every = np.arange(pack.num_slices)
    naive = NaiveSlices(patients, pack, arguments.augment)
    loaders = {number: stack.enter_context(_loader(pack, arguments, number)) for number in (0, 2)}
    chosen = list(range(arguments.batch_size))
    naive_loaders = {
        number: DataLoader(
            naive,
            batch_size=arguments.batch_size,
            sampler=chosen,
            num_workers=number,
            persistent_workers=number > 0,
        )
        for number in loaders
    }
    for number, batches in loaders.items():  # the processes start, and stay
        _time(batches(epoch=0))
        _time(naive_loaders[number])
    seconds = defaultdict(list)
    for epoch in range(1, arguments.rounds + 1):
        order = epoch_slices(pack, every, seed=0, epoch=epoch)
        order = order[: len(order) // arguments.batch_size * arguments.batch_size]
        for number, batches in loaders.items():
            seconds[f"pack_{number}_processes"].append(_time(batches(epoch=epoch)) / len(order))
            chosen[:] = order.tolist()
            seconds[f"naive_{number}_processes"].append(_time(naive_loaders[number]) / len(order))
    rates = {name: 1 / statistics.median(times) for name, times in seconds.items()}
    best_naive, best_pack = (max(rates[f"{kind}_{number}_processes"] for number in loaders) for kind in KINDS)
    waiting = _waiting_share(pack, arguments)
    print(
        json.dumps(
            {
                "slices_per_second": {name: round(rate, 1) for name, rate in rates.items()},
                "ratio_to_naive": round(best_pack / best_naive, 2),
                "ratio_to_naive_in_one_process": round(rates["pack_0_processes"] / rates["naive_0_processes"], 2),
                "waiting_share": round(waiting, 4),
                "data": Path(arguments.data).name,
                "size": arguments.size,
                "augment": arguments.augment,
                "rounds": arguments.rounds,
                "commit": commit(),
            }
        )
    )


def _loader(pack: Pack, arguments: Arguments, num_processes: int) -> AbstractContextManager[Callable[..., Iterable]]:
    return train_loader(
        pack,
        batch_size=arguments.batch_size,
        seed=0,
        rank=0,
        world_size=1,
        augment=arguments.augment,
        num_processes=num_processes,
    )


def _time(batches: Iterable) -> float:
    started = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - started


def _waiting_share(pack: Pack, arguments: Arguments) -> float:
    """Return the share of a training epoch, without its validation, in which the network waited for a batch."""
    unet = UNetConfig(in_channels=pack.num_channels)
    config = TrainConfig(max_epochs=3, batch_size=arguments.batch_size, augment=arguments.augment)
    few = pack.select(pack.patient_ids[:1])
    epochs = [result.metrics for result in train(unet, config, pack, few)][1:]  # the first one warms up
    return statistics.median(epoch["waiting_seconds"] / epoch["seconds"] for epoch in epochs)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
