"""Measure what a search costs on top of training: the same trials in a search and in a bare loop.

    python tests/benchmarks/search_overhead.py [--workers 1] [--trials 8] [--epochs 3] [--rounds 3]

Every round runs the search and then the bare loop, which is one process per worker that calls `train` and nothing else
(with gloo between two). No trial is stopped early, so all rounds train the same samples. The medians over rounds give

    startup_seconds            from `ray.init` to the start of the first epoch, and from the last one's end to Ray's
    marginal_seconds_per_trial (search - startup_seconds - bare) / trials
    ratio_without_startup      (search - startup_seconds) / bare

The bare loop saves a checkpoint after every epoch, because the search does and any loop that may be killed has to. The
figures that end in `_unsaved` compare with a loop that saves nothing. At most 0.3 s per trial and a ratio of 1.15 are
accepted; 0 and 1 are ideal. The last line of output is one JSON object.
"""

import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
import tyro
from torch.multiprocessing.spawn import spawn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout is what is measured
from data.preprocess import Preprocessing
from model.training.train import train
from search.cluster.capacity.lane_plan import node_resources, plan_lanes
from search.cluster.engine import run_trials
from search.cluster.session import ray_session
from search.cohort import Cohort, read_cohort
from search.config import SearchConfig
from search.experiment import create_experiment
from search.record.epochs import EpochMetrics
from search.record.experiment_record import WarmStart
from search.record.provenance import commit
from search.record.trials import Sample
from search.space.configs import SharedSettings, to_configs

Tracking = Literal["offline", "online", "tensorboard", "off"]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure the overhead of a search."""

    workers: int = 1
    """Workers per trial."""

    trials: int = 8
    """Trials per search."""

    epochs: int = 3
    """Epochs per trial."""

    rounds: int = 3
    """How often everything is measured."""

    size: int = 128
    """Side of a slice in pixels."""

    patients: int = 16
    """Number of synthetic patients."""

    tracking: Tracking = "offline"
    """Where the trials are tracked; as for `search.tune`."""


def main(arguments: Arguments) -> None:
    out = Path(tempfile.mkdtemp(prefix="search_overhead_"))
    config = SearchConfig(
        data=f"phantom:{arguments.patients}",
        out=out,
        name="whole",
        trials=arguments.trials,
        max_epochs=arguments.epochs,
        scheduler="none",
        preprocessing=Preprocessing(size=arguments.size),
        workers_per_trial=arguments.workers,
        tracking=arguments.tracking,
    )
    cohort = read_cohort(config)
    samples = run_search(config, cohort).samples  # also the warm-up: files are in the page cache from here on
    rounds = []
    for index in range(arguments.rounds):
        measured = run_search(config, cohort)
        assert measured.samples == samples, "the searches tried different samples"
        times = {
            "search": measured.seconds,
            "startup": measured.startup_seconds,
            "bare": run_bare_loop(config, cohort, samples, save=True),
            "unsaved": run_bare_loop(config, cohort, samples, save=False),
        }
        rounds.append({key: round(seconds, 2) for key, seconds in times.items()})
        print(f"round {index + 1}: {json.dumps(rounds[-1])}", flush=True)
    shutil.rmtree(out)
    print(json.dumps(_report(rounds, arguments)))


@dataclass(frozen=True, kw_only=True)
class MeasuredSearch:
    """How long a search took, and what it tried."""

    seconds: float
    startup_seconds: float
    """The part of `seconds` before the first epoch starts and after the last one ends."""

    samples: list[Sample]


def run_search(config: SearchConfig, cohort: Cohort) -> MeasuredSearch:
    """Return the measurements of a whole search, which replaces the one in the same folder."""
    shutil.rmtree(config.folder, ignore_errors=True)
    config.folder.mkdir(parents=True)
    started = time.perf_counter()
    with ray_session():
        lanes = plan_lanes(config, node_resources())
        create_experiment(config, cohort, lanes, WarmStart())
        rows = run_trials(config, lanes, cohort.train_pack, cohort.val_pack)
    whole = time.perf_counter() - started
    assert all(len(row.epochs) == config.max_epochs for row in rows)
    first = rows[0].epochs[0]
    training = max(map(_elapsed, (row.epochs[-1] for row in rows))) - _elapsed(first) + first.seconds
    return MeasuredSearch(seconds=whole, startup_seconds=whole - training, samples=[row.sample for row in rows])


def _elapsed(epoch: EpochMetrics) -> float:
    assert epoch.elapsed_seconds is not None
    return epoch.elapsed_seconds


def run_bare_loop(config: SearchConfig, cohort: Cohort, samples: list[Sample], *, save: bool) -> float:
    """Return how many seconds it takes to train the samples one after the other in processes that have started."""
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    threads = max(1, (os.cpu_count() or 1) // config.workers_per_trial)
    work = (config.workers_per_trial, threads, config.shared_settings(3), cohort, samples, config.out, save, queue)
    spawn(_train_all, args=work, nprocs=config.workers_per_trial)
    return queue.get()


def _train_all(
    rank: int,
    world_size: int,
    threads: int,
    shared: SharedSettings,
    cohort: Cohort,
    samples: list[Sample],
    out: Path,
    save: bool,
    queue: SimpleQueue[float],
) -> None:
    torch.set_num_threads(threads)
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{out / 'gloo'}", rank=rank, world_size=world_size)
        dist.barrier()
    started = time.perf_counter()
    for sample in samples:
        for result in train(*to_configs(sample, shared), cohort.train_pack, cohort.val_pack):
            if save and rank == 0:
                (out / "bare.pt").write_bytes(result.state.to_bytes())
    if rank == 0:
        queue.put(time.perf_counter() - started)
    if world_size > 1:
        dist.barrier()
        dist.destroy_process_group()


def _report(rounds: list[dict[str, float]], arguments: Arguments) -> dict[str, object]:
    median = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    training = statistics.median(one["search"] - one["startup"] for one in rounds)
    return {
        "bare_seconds": median["bare"],
        "search_seconds": median["search"],
        "startup_seconds": median["startup"],
        "marginal_seconds_per_trial": round((training - median["bare"]) / arguments.trials, 3),
        "ratio_without_startup": round(training / median["bare"], 3),
        "marginal_seconds_per_trial_unsaved": round((training - median["unsaved"]) / arguments.trials, 3),
        "ratio_without_startup_unsaved": round(training / median["unsaved"], 3),
        "workers": arguments.workers,
        "trials": arguments.trials,
        "epochs": arguments.epochs,
        "rounds": rounds,
        "tracking": arguments.tracking,
        "cores": os.cpu_count(),
        "commit": commit(),
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
