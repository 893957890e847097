"""Measure what it costs to be able to halt between two batches, by epochs with and without the check in turn.

    python tests/benchmarks/halt_check.py --rounds 9
    python tests/benchmarks/halt_check.py --rounds 9 --workers 2

The check is the real one: it polls the channel to the lane, which is within the process or an authenticated socket, and
two workers vote as well. The last line of output is one JSON object.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.support

from model.device import find_device
from model.training import parallel
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from search.cluster.group.channel import WorkerListener, local_pair
from tests.support.fakes import small_pack


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--slices", type=int, default=320)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.workers == 1:
            measure(0, folder, options)
        else:
            spawn(measure, (folder, options), nprocs=options.workers)


def measure(rank: int, folder: str, options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if options.workers > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=options.workers
        )
    poll, _connection = connect(options.workers)
    pack = small_pack([True, False] * (options.slices // 2), size=64)
    config = TrainConfig(max_epochs=2 * options.rounds + 1, batch_size=8, augment=0.0)
    is_checked = False
    epochs = train(
        UNetConfig(depth=2, width=8, dropout=0.1), config, pack, small_pack([True] * 2, size=64),
        halt=lambda: is_checked and poll(),
    )  # fmt: skip
    ask = parallel.Votes.ask
    patched = patch.object(parallel.Votes, "ask", lambda votes, mine: is_checked and ask(votes, mine))
    patched.start()
    next(epochs)  # warm
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(options.rounds):
        for is_checked in (False, True):
            metrics = next(epochs).metrics
            seconds[is_checked].append(metrics["seconds"] - metrics["val_seconds"])
    patched.stop()
    device = find_device()
    num_batches = options.slices // 8
    found = {
        "workers": options.workers,
        "batch_ms": 1000 * statistics.median(seconds[True]) / num_batches,
        "ratio": statistics.median(np.divide(seconds[True], seconds[False])),
        "ratios": sorted(round(float(ratio), 3) for ratio in np.divide(seconds[True], seconds[False])),
        "ask_us": microseconds(poll),
        "seed_us": microseconds(lambda: device.seed(0, 1, 2, 3)),
        "vote_us": vote_microseconds(),
    }
    if rank == 0:
        print(json.dumps(found))
    if options.workers > 1:
        dist.barrier()
        os._exit(0)


def connect(num_workers: int) -> tuple[Callable[[], bool], object]:
    """Return a function that polls a worker's channel, and the other end, which must stay open."""
    if num_workers == 1:
        ours, theirs = local_pair()
        return lambda: theirs.poll(0.0), ours
    listener = WorkerListener("127.0.0.1", 1)
    found = []
    thread = threading.Thread(target=lambda: found.append(listener.address.connect(0)))
    thread.start()
    connections = listener.wait(lambda: True, timeout_seconds=10)
    thread.join()
    return lambda: found[0].poll(0.0), connections


def microseconds(call: Callable[[], object], times: int = 2000) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()
    return 1e6 * (time.perf_counter() - started) / times


def vote_microseconds(times: int = 300) -> float | None:
    """Return how long a vote takes in a batch whose processes exchange gradients, too; None with one worker."""
    if parallel.world_size() == 1:
        return None
    votes, spent = parallel.Votes(find_device("float32")), 0.0
    gradients = torch.zeros(100_000)
    for _ in range(times):
        started = time.perf_counter()
        votes.ask(False)
        spent += time.perf_counter() - started
        parallel.sum_over_ranks(gradients)
    return 1e6 * spent / times


if __name__ == "__main__":
    main()
