"""Measure how fast the loader is, against reading TIFFs slice by slice, and how long training waits for it.

    python tests/benchmarks/loading.py [--data phantom:24] [--rounds 5]

`naive` is what a training script without a pack does: behind a DataLoader, a torch Dataset opens the two TIFFs of a
slice, and fits and augments them as the pack's loader does. Both loaders run with no worker processes and with two, and
the faster variant of each counts. They take turns and load the same slices in the same order; the ratio is that of
their medians. `waiting_share` is the share of a U-Net's epoch on this machine in which the next batch was not ready.
The last line of output is one JSON object.
"""

import json
import statistics
import sys
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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout is what is measured
from data.augmentation.augment import Augment, AugmentConfig, build_augment
from data.errors import UserError
from data.loaders import epoch_slices
from data.packing.pack import Pack, pack_patients
from data.patient import SliceFiles, SlicePatient
from data.preprocess import Preprocessing, fit_image, fit_mask
from data.source import find_source
from model.training.loader_processes import train_loader
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from search.record.provenance import commit

NUM_PROCESSES = (0, 2)
"""Worker processes of a loader; with none, it loads in the process that trains."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure the loader."""

    data: str = "phantom:24"
    """Patients, as for `search.tune`; each slice must be a file."""

    size: int = 128
    """Side of a slice in pixels."""

    batch_size: int = 16
    """Slices per batch."""

    rounds: int = 5
    """Number of epochs that each loader loads."""

    augment: float = 1.0
    """Strength of augmentation in both loaders; 0 turns it off."""


class NaiveSlices(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Slices in files, each opened, fitted, augmented and normalised every time that it is asked for."""

    def __init__(self, patients: tuple[SlicePatient, ...], pack: Pack, augment: float) -> None:
        self._files: list[SliceFiles] = [files for patient in patients for files in patient.slices]
        self._read = patients[0].read_slice
        self._mean, self._std = pack.mean[pack.patient_of_slice], pack.std[pack.patient_of_slice]
        self._size = pack.size
        self._strength = augment
        self._augment: Augment | None = None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self._augment is None and self._strength:  # not in __init__, because a transform cannot be pickled
            self._augment = build_augment(AugmentConfig(strength=self._strength))
        image, mask = self._read(self._files[index])
        image, mask = fit_image(image, self._size), fit_mask(mask, self._size)
        if self._augment is not None:
            image, mask = self._augment(image, mask, int(index))
        normalised = (image.astype(np.float32) - self._mean[index]) / self._std[index]
        return torch.from_numpy(normalised.transpose(2, 0, 1)), torch.from_numpy(mask[None].astype(np.float32))


def main(arguments: Arguments) -> None:
    patients = find_slices(arguments.data)
    pack = pack_patients(patients, Preprocessing(size=arguments.size))
    rates = measure_rates(NaiveSlices(patients, pack, arguments.augment), pack, arguments)
    naive, packed = (max(rates[f"{kind}_{number}_processes"] for number in NUM_PROCESSES) for kind in ("naive", "pack"))
    result = {
        "slices_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio_to_naive": round(packed / naive, 2),
        "ratio_to_naive_in_one_process": round(rates["pack_0_processes"] / rates["naive_0_processes"], 2),
        "waiting_share": round(_waiting_share(pack, arguments), 4),
        "data": Path(arguments.data).name,
        "size": arguments.size,
        "augment": arguments.augment,
        "rounds": arguments.rounds,
        "commit": commit(),
    }
    print(json.dumps(result))


def find_slices(data: str) -> tuple[SlicePatient, ...]:
    """Return the patients of a data source whose slices are files.

    Raises:
        UserError: The source has other patients.
    """
    found = find_source(data, phantom_root=Path(tempfile.gettempdir())).patients
    patients = tuple(patient for patient in found if isinstance(patient, SlicePatient))
    if len(patients) < len(found):
        raise UserError(f"{data} has patients that are volumes, but this benchmark needs slices that are files")
    return patients


def measure_rates(naive: NaiveSlices, pack: Pack, arguments: Arguments) -> dict[str, float]:
    """Return the slices per second of each loader with each number of processes, medians over the rounds."""
    order: list[int] = list(range(arguments.batch_size))
    naive_loaders = {number: _naive_loader(naive, order, arguments.batch_size, number) for number in NUM_PROCESSES}
    seconds = defaultdict(list)
    with ExitStack() as stack:
        loaders = {number: stack.enter_context(_loader(pack, arguments, number)) for number in NUM_PROCESSES}
        for number, batches in loaders.items():  # starts the worker processes, which stay for later epochs
            _time(batches(epoch=0))
            _time(naive_loaders[number])
        for epoch in range(1, arguments.rounds + 1):
            slices = epoch_slices(pack, np.arange(pack.num_slices), seed=0, epoch=epoch).tolist()
            order[:] = slices[: len(slices) // arguments.batch_size * arguments.batch_size]
            for number, batches in loaders.items():
                seconds[f"pack_{number}_processes"].append(_time(batches(epoch=epoch)) / len(order))
                seconds[f"naive_{number}_processes"].append(_time(naive_loaders[number]) / len(order))
    return {name: 1 / statistics.median(times) for name, times in seconds.items()}


def _naive_loader(naive: NaiveSlices, order: list[int], batch_size: int, num_processes: int) -> DataLoader:
    """Return a loader of the slices in `order`, which the caller changes before every epoch."""
    return DataLoader(
        naive,
        batch_size=batch_size,
        sampler=order,
        num_workers=num_processes,
        persistent_workers=num_processes > 0,
    )


def _loader(pack: Pack, arguments: Arguments, num_processes: int) -> AbstractContextManager[Callable[..., Iterable]]:
    return train_loader(
        pack,
        batch_size=arguments.batch_size,
        seed=0,
        rank=0,
        world_size=1,
        augment=AugmentConfig(strength=arguments.augment),
        num_processes=num_processes,
    )


def _time(batches: Iterable) -> float:
    started = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - started


def _waiting_share(pack: Pack, arguments: Arguments) -> float:
    """Return the share of an epoch, with a validation on one patient, in which training waited for a batch."""
    unet = UNetConfig(in_channels=pack.num_channels)
    config = TrainConfig(max_epochs=3, batch_size=arguments.batch_size, augment=arguments.augment)
    val_pack = pack.select(pack.patient_ids[:1])
    epochs = [result.metrics for result in train(unet, config, pack, val_pack)][1:]  # the first epoch warms up
    return statistics.median(epoch["waiting_seconds"] / epoch["seconds"] for epoch in epochs)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
