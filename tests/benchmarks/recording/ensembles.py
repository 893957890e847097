"""Ensembles of the default configuration: what the time of a search is worth if nothing is searched."""

from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float16

from data.loaders import eval_batches
from data.packing.pack import Pack
from model.device import find_device
from model.scoring import metrics
from model.segmentation_network import SegmentationNetwork
from model.training.train import train
from search.space.configs import default_sample, to_configs
from search.space.named import CORE
from tests.benchmarks.recording.task import Task

Probabilities = Float16[np.ndarray, "slices height width"]


def record_ensembles(
    num_networks: int, folder: Path, processes: int, task: Task
) -> dict[int, Float[np.ndarray, " patients"]]:
    """Return the Dice of each judged patient by the average of 1, 2, 4... networks of the default configuration.

    Their seeds are 0, 1, 2... The probabilities of each network are kept in the folder, where the next run finds them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in range(num_networks) if not _file(folder, seed).exists()]
    print(f"{len(missing)} of {num_networks} networks of the default are still to be trained", flush=True)
    with get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool:
        for seed, found in pool.imap_unordered(_Trainer(task), missing):
            np.save(_file(folder, seed), found)
    sizes = [2**power for power in range(num_networks.bit_length()) if 2**power <= num_networks]
    return {size: _dice([np.load(_file(folder, seed)) for seed in range(size)], task.judged_pack) for size in sizes}


def _file(folder: Path, seed: int) -> Path:
    return folder / f"{seed}.npy"


class _Trainer:
    """Trains the default with a seed; it is sent to the worker processes."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __call__(self, seed: int) -> tuple[int, Probabilities]:
        network, config = to_configs(default_sample(CORE), replace(self._task.settings, seed=seed))
        *_, last = train(network, config, self._task.train_pack, None)
        return seed, _predict(last.state.network, self._task.judged_pack, config.batch_size)


@torch.inference_mode()
def _predict(network: SegmentationNetwork, pack: Pack, batch_size: int) -> Probabilities:
    device = find_device()
    network.eval()
    found = []
    for batch in eval_batches(pack, np.arange(pack.num_slices), batch_size=batch_size, rank=0, world_size=1):
        with device.autocast():
            logits = network(device.put(batch.images))
        found.append(logits.float().sigmoid().squeeze(1).half().cpu().numpy())
    return np.concatenate(found)


def _dice(members: list[Probabilities], pack: Pack) -> Float[np.ndarray, " patients"]:
    mean = np.mean(members, axis=0, dtype=np.float32)
    counts = torch.zeros(len(pack.patient_ids), 4, dtype=torch.int64)
    found = metrics.count(torch.from_numpy(mean >= 0.5), torch.from_numpy(pack.masks > 0))
    counts.index_add_(0, torch.from_numpy(pack.patient_of_slice.copy()), found)
    return metrics.METRICS["dice"](counts).numpy()
