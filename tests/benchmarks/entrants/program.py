"""This program: a search within a budget, its default configuration, and an ensemble of the default configuration."""

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.loaders import num_train_batches
from data.packing.pack import Pack, pack_patients
from data.patient import Volume
from data.preprocess import Preprocessing
from model.device import find_device
from model.export.predictor import Predictor, torch_network
from model.inference.volume import predict_volume, to_masks
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.settings import Settings
from model.training.train import Halted, train
from model.training.train_config import TrainConfig
from search.config import SearchConfig
from search.promotion.options import MAX_MEMBERS
from search.result import read_result
from search.space.configs import default_sample, to_configs
from tests.benchmarks.entrants.contest import Task, Trained, read_patients

ROOT = Path(__file__).resolve().parents[3]

MEMBER_EPOCHS = 30
"""Epochs of a member of the ensemble, about; as many members as fit share the time evenly."""

MEASURED_BATCHES = 12
"""The fewest batches of the training that measures an epoch; the first two are slower and do not count."""

MEASURED_SHARE = 0.03
"""Share of the time that measuring takes at least: two epochs of 20 patients in 8 minutes on two cores."""

FILLED = 0.95
"""Share of the time that is left which the schedule is planned to fill; the rest is for batches that take longer."""

WHOLE = 0.9
"""Share of its epochs that a member needs in order to count, if the time is up before its schedule ends."""


def search(task: Task) -> Trained:
    """Run `search.tune` with what is left of the time as its budget."""
    command = [sys.executable, "-m", "search.tune", "--data", task.data, "--budget", f"{task.seconds_left:.0f}s"]
    command += ["--out", str(task.folder), "--name", "ours", "--size", str(task.size), "--no-cache"]
    command += ["--test-fraction", "0.001"]  # one patient: a search always keeps one to score its winner on
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    subprocess.run([*command, *task.search_options], env={**os.environ, "PYTHONPATH": path}, check=True)
    result = read_result(task.folder / "ours")
    best = result.best
    assert best is not None, "a search that ends with status 0 has promoted a model"
    facts = {
        "trainings": len(result.rows),
        "epochs": sum(len(row.epochs) for row in result.rows),
        "winner": best.metrics.name,
        "sample": dict(best.metrics.sample),
        "num_networks": best.metrics.num_networks,
        "candidates": [one.name for one in best.metrics.candidates],  # with the trainings after the trials
    }
    return Trained(predict=lambda volume: best.predict(volume.images), facts=facts)


def train_default(task: Task) -> Trained:
    """Train the default configuration once, for as many epochs as fit, on all patients."""
    plan = _Plan.make(task)
    network, epochs = plan.train(plan.num_epochs, seed=0)
    return plan.trained([network], {"trainings": 1, "epochs": epochs, "planned_epochs": plan.num_epochs})


def train_ensemble(task: Task) -> Trained:
    """Train the default configuration with several seeds, for the same number of epochs each, and average."""
    plan = _Plan.make(task)
    members = min(MAX_MEMBERS, max(2, round(plan.num_epochs / MEMBER_EPOCHS)))
    planned = max(1, plan.num_epochs // members)
    networks, done = [], 0
    for seed in range(members):
        network, epochs = plan.train(planned, seed=seed)
        done += epochs
        if not networks or epochs >= WHOLE * planned:
            networks.append(network)
        if task.seconds_left <= 0:
            break
    return plan.trained(networks, {"trainings": len(networks), "epochs": done, "planned_epochs": planned})


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The default configuration on the patients of a task, and the number of epochs that fit into the time."""

    task: Task
    settings: Settings
    pack: Pack
    rest: Pack
    """A patient to validate on, because `train` validates after each epoch; nothing is chosen by that."""

    configs: tuple[NetworkConfig, TrainConfig]
    num_epochs: int

    @classmethod
    def make(cls, task: Task) -> "_Plan":
        """Return the plan of a task, after an epoch was measured."""
        preprocessing = Preprocessing(size=task.size)
        pack = pack_patients(read_patients(task), preprocessing)
        config = SearchConfig(preprocessing=preprocessing)
        sample = default_sample(config.search_space)
        configs = to_configs(sample, config.shared_settings(pack.num_channels))
        shortest = np.bincount(pack.patient_of_slice).argmin()
        settings = Settings(
            preprocessing=preprocessing, channel_names=tuple(str(index) for index in range(pack.images.shape[3]))
        )
        plan = cls(
            task=task,
            settings=settings,
            pack=pack,
            rest=pack.select([pack.patient_ids[shortest]]),
            configs=configs,
            num_epochs=1,
        )
        return replace(plan, num_epochs=max(1, math.floor(FILLED * task.seconds_left / plan.measure_epoch())))

    def measure_epoch(self) -> float:
        """Return the seconds of an epoch with its validation, from a short training, which is thrown away."""
        began, times = self.task.seconds_left, list[float]()

        def halt() -> bool:
            times.append(time.perf_counter())
            is_long_enough = began - self.task.seconds_left > MEASURED_SHARE * 60 * self.task.minutes
            return (len(times) > MEASURED_BATCHES and is_long_enough) or self.task.seconds_left <= 0

        network_config, config = self.configs
        config = replace(config, max_epochs=10**6)  # measuring ends it
        with suppress(Halted):
            for _ in train(network_config, config, self.pack, self.rest, halt=halt):
                pass
        batch = statistics.mean(np.diff(times)[2:]) if len(times) > 3 else 60 * self.task.minutes
        return batch * num_train_batches(self.pack, batch_size=config.batch_size)

    def train(self, num_epochs: int, *, seed: int) -> tuple[SegmentationNetwork, int]:
        """Return the network after its last epoch, or when the time is up, and the number of epochs done."""
        network_config, config = self.configs
        config = replace(config, max_epochs=num_epochs, seed=seed)
        state = None
        try:
            for result in train(network_config, config, self.pack, self.rest, halt=lambda: self.task.seconds_left <= 0):
                state = result.state
        except Halted as halted:
            state = halted.state
        assert state is not None, "there is at least one epoch"
        return state.network, state.epoch

    def trained(self, networks: Sequence[SegmentationNetwork], facts: dict[str, object]) -> Trained:
        """Return the average of the networks, with the default threshold."""
        network = torch_network(Predictor(networks), find_device().device)

        def predict(volume: Volume) -> np.ndarray:
            return to_masks(predict_volume(network, volume.images, self.settings.preprocessing), self.settings)[0]

        return Trained(predict=predict, facts=facts)
