"""What a search costs beside training: the same trials through `search` and in a bare loop.

    python tests/benchmarks/search_overhead.py [--workers 1] [--trials 8] [--epochs 3] [--rounds 3]

Every round runs, one after the other, the bare loop (processes with nothing but `model.train.train`, gloo between two)
and the search; no trial is stopped early, so the samples are the same in all rounds. The medians over rounds give

    startup_seconds            from `ray.init` to the begin of the first epoch, and Ray's end after the last one
    marginal_seconds_per_trial (search - startup_seconds - bare) / trials
    ratio_without_startup      (search - startup_seconds) / bare

The bare loop keeps its checkpoint on disk after every epoch, as the search does and as any loop must that may be
killed; `..._unsaved` says the same against a loop that writes nothing. Accepted: at most 0.3 s a trial and 1.15. The
ideal is 0 and 1. The last line is one JSON object.
"""

import json
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import tyro

from data.preprocess import Preprocessing
from model.training.train import train
from search.cluster.capacity.lane_plan import node_resources, plan_lanes
from search.cluster.engine import run_trials
from search.cluster.session import ray_session
from search.cohort import Cohort, read_cohort
from search.config import SearchConfig
from search.record.provenance import commit
from search.space import Sample, SharedSettings, to_configs


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Measure the overhead of a search."""

    workers: int = 1
    """Workers of a trial."""

    trials: int = 8
    """Trials of the whole search."""

    epochs: int = 3
    """Epochs of each trial."""

    rounds: int = 3
    """Times that everything is measured."""

    size: int = 128
    """Side of a slice in pixels."""

    patients: int = 16
    """Synthetic patients."""

    tracking: str = "offline"
    """As the search's option."""


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
    samples = search(config, cohort)[2]  # also the warm-up: files are in the page cache from here on
    rounds = []
    for index in range(arguments.rounds):
        whole, startup, again = search(config, cohort)
        assert again == samples, "the searches tried different samples"
        times = {"search": whole, "startup": startup}
        times |= {
            "bare": bare(config, cohort, samples, save=True),
            "unsaved": bare(config, cohort, samples, save=False),
        }
        rounds.append({key: round(seconds, 2) for key, seconds in times.items()})
        print(f"round {index + 1}: {json.dumps(rounds[-1])}", flush=True)
    shutil.rmtree(out)
    print(json.dumps(_report(rounds, arguments)))


def search(config: SearchConfig, cohort: Cohort) -> tuple[float, float, list[Sample]]:
    """Return the seconds of a search, those of them outside the time from its first epoch to its last, its samples."""
    shutil.rmtree(config.folder, ignore_errors=True)
    config.folder.mkdir(parents=True)
    started = time.perf_counter()
    with ray_session():
        lanes = plan_lanes(config, node_resources())
        rows = run_trials(config, lanes, cohort.train_pack, cohort.val_pack)
    whole = time.perf_counter() - started
    assert all(len(row.epochs) == config.max_epochs for row in rows)
    first, last = rows[0].epochs[0], max(row.epochs[-1].elapsed_seconds or 0.0 for row in rows)
    assert first.elapsed_seconds is not None
    return whole, whole - (last - first.elapsed_seconds + first.seconds), [row.sample for row in rows]


def bare(config: SearchConfig, cohort: Cohort, samples: list[Sample], *, save: bool) -> float:
    """Return the seconds of training the samples one after the other, in processes that are already there."""
    queue = multiprocessing.get_context("spawn").Queue()
    threads = max(1, (os.cpu_count() or 1) // config.workers_per_trial)
    work = (config.workers_per_trial, threads, config.shared_settings(3), cohort, samples, config.out, save, queue)
    multiprocessing.spawn(_train_all, args=work, nprocs=config.workers_per_trial)
    return queue.get()


def _train_all(
    rank: int,
    world_size: int,
    threads: int,
    fixed: SharedSettings,
    cohort: Cohort,
    samples: list[Sample],
    out: Path,
    save: bool,
    queue: multiprocessing.Queue,
) -> None:
    torch.set_num_threads(threads)
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{out / 'gloo'}", rank=rank, world_size=world_size)
        dist.barrier()
    started = time.perf_counter()
    for sample in samples:
        for result in train(*to_configs(sample, fixed), cohort.train_pack, cohort.val_pack):
            if save and rank == 0:
                (out / "bare.pt").write_bytes(result.state.to_bytes())
    if rank == 0:
        queue.put(time.perf_counter() - started)
    if world_size > 1:
        dist.barrier()
        dist.destroy_process_group()


def _report(rounds: list[dict[str, float]], arguments: Arguments) -> dict[str, object]:
    middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    training = statistics.median(one["search"] - one["startup"] for one in rounds)
    return {
        "bare_seconds": middle["bare"],
        "search_seconds": middle["search"],
        "startup_seconds": middle["startup"],
        "marginal_seconds_per_trial": round((training - middle["bare"]) / arguments.trials, 3),
        "ratio_without_startup": round(training / middle["bare"], 3),
        "marginal_seconds_per_trial_unsaved": round((training - middle["unsaved"]) / arguments.trials, 3),
        "ratio_without_startup_unsaved": round(training / middle["unsaved"], 3),
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
