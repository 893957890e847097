"""nnU-Net's trainer with a clock instead of a number of epochs."""

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import (  # pyright: ignore[reportMissingImports]  # a peer that need
    nnUNetTrainer,  # not be installed
)

from model.device import find_device
from tests.benchmarks.entrants.contest import Task

EXPONENT = 0.9
"""Of nnU-Net's polynomial schedule."""


class _TimeIsUp(Exception):
    """The time is up in the middle of an epoch."""


class TimedTrainer(nnUNetTrainer):
    """Trains until a task's time is up; the learning rate falls to 0 by then."""

    def __init__(
        self, plans: dict[str, Any], configuration: str, fold: str, dataset_json: dict[str, Any], device: torch.device
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 10, 1
        self.num_epochs = 10**6  # the clock ends the training before that
        self.disable_checkpointing = True
        self.num_batches = 0

    def run_until(self, task: Task) -> None:
        """Train until the time of a task is up."""
        self.task, self.began = task, task.seconds_left
        try:
            self.run_training()
        except _TimeIsUp:
            self.on_train_end()  # ends the processes that load batches

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take one step with the learning rate of this moment."""
        left = self.task.seconds_left
        if left <= 0 and self.num_batches:
            raise _TimeIsUp
        for group in self.optimizer.param_groups:
            group["lr"] = self.initial_lr * max(0.0, left / self.began) ** EXPONENT
        self.num_batches += 1
        with find_device().autocast():
            return super().train_step(batch)

    def plot_network_architecture(self) -> None:
        """Draw nothing, because that takes time."""
