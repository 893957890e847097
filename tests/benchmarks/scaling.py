"""Measure how much faster two data-parallel workers train than one, each with one thread, and where the rest goes.

    python tests/benchmarks/scaling.py [DATA] [--size 128] [--width 16] [--batch-size 16] [--rounds 5]

Workers train as those of a search do (`model.training.train` in a process group by gloo, with loading and augmentation,
without validation), on CPUs. In each round take turns: one worker; two with twice the batch (`weak`); two with the same
batch (`strong`); both again without exchanging gradients (`_unsynced`); and two workers that know nothing of each other
(`apart`, and `apart_half` with half the batch), which is what the machine itself allows. Rates are slices a second of
all workers together. Medians of the rounds give

    weak_efficiency, strong_efficiency    rate / (2 * rate of one); 1 is ideal
    machine_efficiency                    that of two workers apart: cores share memory, caches and their clock
    weak_gradients, strong_gradients      share of the time that exchanging gradients takes
    weak_exchange, strong_exchange        share of the time that a step takes beyond one apart: gradients, the sums of
                                          the loss, votes on halting, and waiting for the slower worker

The last line of output is one JSON object.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for tests.benchmarks, and for a plain checkout

import tests.benchmarks.plain_checkout  # noqa: E402, F401, I001  (before the program)
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from data.loaders import num_train_batches  # noqa: E402
from data.packing.pack import Pack  # noqa: E402
from model.device import Device  # noqa: E402
from model.training import parallel  # noqa: E402
from model.training.train import train  # noqa: E402
from model.training.train_config import TrainConfig  # noqa: E402
from model.unet import UNetConfig  # noqa: E402
from search.record.provenance import commit  # noqa: E402
from tests.benchmarks.throughput.options import add_size, chosen, make_parser, num_cpus, read_workload, use_device  # noqa: E402
from tests.benchmarks.throughput.processes import Worker, seconds_together, workers  # noqa: E402
from tests.benchmarks.throughput.workload import Workload, summarise  # noqa: E402

UNSYNCED = "_unsynced"
"""End of an order to train without exchanging gradients."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the rates and the efficiencies."""
    arguments = _parse(argv)
    batch_size = arguments.batch_size
    workload = read_workload(arguments, size=arguments.size, batches_of=2)
    rates = measure(workload, batch_size, rounds=arguments.rounds, augment=arguments.augment)
    facts = {
        **chosen(arguments, ("size", "width", "batch_size", "augment", "rounds")),
        "gradient_mb": _gradient_mb(workload),
        "cores": num_cpus(),
        "torch": torch.__version__,
        "commit": commit(),
    }
    print(json.dumps({**efficiencies(rates), "slices_per_second": summarise(rates), **facts}))


def measure(workload: Workload, batch_size: int, *, rounds: int, augment: float) -> dict[str, list[float]]:
    """Return the slices a second of all workers together, by the way to train, in each of some rounds."""
    make = partial(Trainings, workload=workload, augment=augment)
    apart = {"one": batch_size, "half": batch_size // 2}
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        group = {"weak": 2 * batch_size, "strong": batch_size}
        join = [partial(make, batch_sizes=group, rank=rank, address=f"file://{folder}/rendezvous") for rank in (0, 1)]
        with workers([partial(make, batch_sizes=apart), partial(make, batch_sizes=apart), *join]) as found:
            ways = _ways(found[:2], found[2:], workload.pack, {**apart, **group})
            for number in range(rounds + 1):
                for name, (some, order, num_slices) in ways.items():
                    rate = num_slices / seconds_together(some, order)
                    if number > 0:  # the first round fills caches
                        rates.setdefault(name, []).append(rate)
    return rates


def efficiencies(rates: Mapping[str, list[float]]) -> dict[str, float]:
    """Return what the rates of the ways to train say, as the module describes it."""

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))

    found = {
        "weak_efficiency": ratio("weak", "one") / 2,
        "strong_efficiency": ratio("strong", "one") / 2,
        "machine_efficiency": ratio("apart", "one") / 2,
        "weak_gradients": 1 - ratio("weak", "weak" + UNSYNCED),
        "strong_gradients": 1 - ratio("strong", "strong" + UNSYNCED),
        "weak_exchange": 1 - ratio("weak", "apart"),
        "strong_exchange": 1 - ratio("strong", "apart_half"),
    }
    return {name: round(value, 3) for name, value in found.items()}


class Trainings:
    """The trainings of one worker, by name; an order is the name of the one to train for an epoch."""

    def __init__(
        self,
        *,
        workload: Workload,
        batch_sizes: Mapping[str, int],
        augment: float,
        rank: int = 0,
        address: str | None = None,
    ) -> None:
        torch.set_num_threads(1)
        if address is not None:
            dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
        network = UNetConfig(in_channels=workload.pack.num_channels, width=workload.width)
        self._epochs = {
            name: train(
                network, TrainConfig(max_epochs=1_000_000, batch_size=size, augment=augment), workload.pack, None
            )
            for name, size in batch_sizes.items()
        }
        self._networks: dict[str, nn.Module] = {}

    def __call__(self, order: str) -> None:
        """Train for an epoch."""
        name = order.removesuffix(UNSYNCED)
        if name not in self._networks:  # the first epoch builds the network
            with patch.object(parallel, "distribute", self._remember(name, parallel.distribute)):
                next(self._epochs[name])
            return
        network = self._networks[name]
        if isinstance(network, DistributedDataParallel):
            # As its no_sync does, which is a context and would have to be inside of `train`.
            network.require_backward_grad_sync = order == name
        next(self._epochs[name])

    def _remember(self, name: str, distribute: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def remembered(network: nn.Module, device: Device) -> nn.Module:
            self._networks[name] = distribute(network, device)
            return self._networks[name]

        return remembered


def _ways(
    alone: Sequence[Worker], group: Sequence[Worker], pack: Pack, batch_sizes: Mapping[str, int]
) -> dict[str, tuple[Sequence[Worker], str, int]]:
    """Return, by the way to train, its workers, their order, and the slices that they all train on together."""
    epoch = {name: num_train_batches(pack, batch_size=size) * size for name, size in batch_sizes.items()}
    return {
        "one": (alone[:1], "one", epoch["one"]),
        "weak": (group, "weak", epoch["weak"]),
        "weak" + UNSYNCED: (group, "weak" + UNSYNCED, epoch["weak"]),
        "apart": (alone, "one", 2 * epoch["one"]),
        "strong": (group, "strong", epoch["strong"]),
        "strong" + UNSYNCED: (group, "strong" + UNSYNCED, epoch["strong"]),
        "apart_half": (alone, "half", 2 * epoch["half"]),
    }


def _gradient_mb(workload: Workload) -> float:
    from model.networks import build

    network = build(UNetConfig(in_channels=workload.pack.num_channels, width=workload.width))
    return round(sum(4 * one.numel() for one in network.parameters()) / 2**20, 2)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, batches=2)
    add_size(parser)
    parser.add_argument("--augment", type=float, default=1.0, help="strength of augmentation; 0 for none")
    arguments = parser.parse_args(argv)
    if arguments.batch_size < 2 or arguments.batch_size % 2:
        parser.error(f"--batch-size is {arguments.batch_size}, but must be even, as two workers share it")
    use_device(parser, "cpu")
    return arguments


if __name__ == "__main__":
    main()
