"""The options that the benchmarks of training speed share."""

import argparse
import os
from collections.abc import Sequence

import torch

from tests.benchmarks.throughput.workload import Workload, make_workload, read_patients


def make_parser(description: str | None, *, batches: int = 8) -> argparse.ArgumentParser:
    """Return a parser of the options that all of them have.

    Args:
        batches: The default of `--batches`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="", help="patients, as for search.tune; none: phantoms are drawn")
    parser.add_argument("--width", type=int, default=16, help="features at full resolution")
    parser.add_argument("--batch-size", type=int, default=16, help="slices that each network sees in a step")
    parser.add_argument("--batches", type=int, default=batches, help="batches of a round, at least")
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def add_size(parser: argparse.ArgumentParser) -> None:
    """Add the option for one size of slices."""
    parser.add_argument("--size", type=int, default=128, help="side of a slice in pixels")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option for the device to train on; `use_device` obeys it."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")


def use_device(parser: argparse.ArgumentParser, device: str) -> None:
    """End the command if there is no such device, and hide GPUs from a measurement of the CPU."""
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def device_name(device: str) -> str:
    """Return the name of the GPU, or the number of CPUs that this process may use."""
    return torch.cuda.get_device_name() if device == "cuda" else f"{num_cpus()} CPUs"


def num_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def read_workload(arguments: argparse.Namespace, *, size: int, batches_of: int = 1) -> Workload:
    """Return the slices on which to train.

    Args:
        batches_of: How many times `--batch-size` a batch has.
    """
    return make_workload(
        read_patients(arguments.data),
        size=size,
        batch_size=batches_of * arguments.batch_size,
        width=arguments.width,
        num_batches=arguments.batches,
    )


def chosen(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, object]:
    """Return the values of options, for the report."""
    return {name: getattr(arguments, name) for name in names}
