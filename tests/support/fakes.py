"""Small stand-ins that several tests share: files, packs and records that take milliseconds to write."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from data.packing.pack import Pack
from data.preprocess import Preprocessing
from data.regions import WHOLE
from data.splitting.split import Split
from model.training.checkpoint import TrainState
from model.unet import UNet, UNetConfig
from search.cohort import Cohort
from search.coordination.trial_progress import Phase, TrialProgress
from search.record.codec import from_json, without_nan
from search.record.epochs import EpochMetrics
from search.record.experiment_record import ExperimentRecord
from search.record.model_metrics import ModelMetrics
from search.record.trials import Sample, State, TrialRow, append_row


def write_lgg_patient(
    source: Path,
    patient_id: str,
    *,
    numbers: tuple[int, ...] = (1, 2, 10),
    height: int = 16,
    width: int = 16,
    tumour_numbers: tuple[int, ...] = (2,),
    seed: int = 0,
) -> Path:
    """Write a patient in the LGG layout, with random slices and a 4 x 4 tumour in some, and return its folder."""
    folder = source / patient_id
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in numbers:
        image = rng.integers(1, 256, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        if number in tumour_numbers:
            mask[4:8, 4:8] = 255
        tifffile.imwrite(folder / f"{patient_id}_{number}.tif", image, photometric="rgb")
        tifffile.imwrite(folder / f"{patient_id}_{number}_mask.tif", mask)
    return folder


def small_pack(tumour: list[bool], *, num_patients: int = 2, size: int = 8, seed: int = 0) -> Pack:
    """Return a pack with one slice per entry of `tumour`, read-only like the packs in Ray's object store."""
    rng = np.random.default_rng(seed)
    num_slices = len(tumour)
    masks = np.zeros((num_slices, size, size), np.uint8)
    masks[np.array(tumour, bool), 2:6, 2:6] = 1
    arrays = {
        "images": rng.integers(0, 256, (num_slices, size, size, 3), dtype=np.uint8),
        "masks": masks,
        "patient_of_slice": np.arange(num_slices, dtype=np.int64) * num_patients // num_slices,
        "slice_numbers": np.arange(num_slices, dtype=np.int64),
        "mean": np.full((num_patients, 3), 100, np.float32),
        "std": np.full((num_patients, 3), 50, np.float32),
        "tumour_share": np.zeros(num_patients),
    }
    for array in arrays.values():
        array.setflags(write=False)
    return Pack(
        **arrays,
        preprocessing=Preprocessing(size=size),
        regions=WHOLE,
        notes=(),
        patient_ids=tuple(f"P{i}" for i in range(num_patients)),
        fingerprint="small",
    )


def small_cohort(fingerprint: str = "0123456789abcdef") -> Cohort:
    """Return four patients that are split into three parts, with packs but without files."""
    return Cohort(
        format="lgg",
        channel_names=("pre", "flair", "post"),
        split=Split(train=("A", "B"), val=("C",), test=("D",)),
        train_pack=small_pack([True, False]),
        val_pack=small_pack([True], num_patients=1),
        train_patients=(),
        val_patients=(),
        test_patients=(),
        num_slices={"train": 2, "val": 1, "test": 1},
        num_tumour_slices={"train": 1, "val": 1, "test": 0},
        fingerprint=fingerprint,
    )


def number_in(sample: Sample, name: str) -> float:
    """Return the value of a hyperparameter that is a number."""
    value = sample[name]
    assert isinstance(value, int | float)
    return value


def learning_curve(sample: Sample, epoch: int) -> float:
    """Return the Dice of a sample of the core space after an epoch, in closed form, for searches without training.

    It saturates at 0.9 for learning_rate 2e-3, depth 4, dropout 0.1 and bce_weight 0.4, and lower everywhere else.
    """
    distance = (
        0.20 * math.log10(number_in(sample, "learning_rate") / 2e-3) ** 2
        + 0.02 * (number_in(sample, "depth") - 4) ** 2
        + 0.50 * (number_in(sample, "dropout") - 0.1) ** 2
        + 0.20 * (number_in(sample, "bce_weight") - 0.4) ** 2
    )
    return (0.9 - distance) * (1 - math.exp(-epoch / 2))


SAMPLE = {"learning_rate": 0.00123456, "depth": 3}


def progress(
    number: int, dices: list[float], *, phase: Phase = Phase.ENDED, elapsed_seconds: float = 0.0
) -> TrialProgress:
    """Return a trial with these validation Dice, one per epoch."""
    epochs = {
        epoch: EpochMetrics(epoch=epoch, val_dice=dice, seconds=2.0, elapsed_seconds=elapsed_seconds + epoch)
        for epoch, dice in enumerate(dices, start=1)
    }
    return TrialProgress(number=number, sample=SAMPLE, attrs={}, epochs=epochs, phase=phase)


class Rows:
    """A listener that remembers how each trial ended."""

    def __init__(self) -> None:
        self.ended: dict[int, tuple[State, int, str | None]] = {}
        """State, number of epochs and error, by the number of the trial."""

    def on_leg(self, trial: TrialProgress) -> None: ...

    def on_epoch(self, trial: TrialProgress, epoch: EpochMetrics) -> None: ...

    def on_loss(self, trial: TrialProgress, error: str) -> None: ...

    def on_end(self, trial: TrialProgress, state: State, error: str | None) -> None:
        self.ended[trial.number] = (state, len(trial.epochs), error)


def constant_state(bias: float, *, depth: int = 1, width: int = 2, **fields: Any) -> TrainState:
    """Return the state of an untrained network whose logit is `bias` at every pixel."""
    network = UNet(UNetConfig(depth=depth, width=width, **fields))
    torch.nn.init.zeros_(network.head.weight)
    assert network.head.bias is not None
    torch.nn.init.constant_(network.head.bias, bias)
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return TrainState(network, optimizer, schedule, torch.amp.GradScaler("cpu", enabled=False))


def head_of(network: torch.nn.Module) -> torch.nn.Conv2d:
    """Return the last layer of a U-Net."""
    assert isinstance(network, UNet)
    return network.head


def trial_row(number: int, dices: list[float], **changes: Any) -> TrialRow:
    """Return the row of a complete trial with these validation Dice, one per epoch, and with other fields changed."""
    row = TrialRow(
        number=number,
        state=State.COMPLETE,
        sample={"learning_rate": 1e-3 * (number + 1), "depth": 3, "dropout": 0.1, "bce_weight": 0.5},
        epochs=tuple(EpochMetrics(epoch=i + 1, val_dice=dice, seconds=1.0) for i, dice in enumerate(dices)),
        seconds=1.0,
    )
    if "epochs" in changes:
        changes["epochs"] = tuple(changes["epochs"])
    return replace(row, **changes)


def experiment_record(**changes: Any) -> ExperimentRecord:
    """Return the record that is read from a config.json with these changes."""
    values = experiment_json() | changes
    return from_json(ExperimentRecord, values | {"provenance": values}, "config.json")


def experiment_json() -> dict[str, Any]:
    """Return the config.json of a small search, with only the entries that must be there."""
    return {
        "started": "2026-01-02T03:04:05+00:00",
        "config": {
            "name": "small",
            "out": "runs",
            "preprocessing": {"size": 32},
            "seed": 7,
            "trials": 4,
            "max_epochs": 3,
            "objective": ["val_dice"],
            "dice_tolerance": 0.01,
            "promotion": {"ties": "smaller", "choose": True},
        },
        "space": {"learning_rate": "0.0001 to 0.01, log", "depth": "2 to 5", "dropout": "0 to 0.5", "bce_weight": "-"},
        "data": {
            "source": "kaggle_3m",
            "format": "lgg",
            "fingerprint": "0123456789abcdef0123",
            "split": {"train": ["A", "B", "C"], "val": ["D"], "test": ["E", "F"]},
        },
        "command": ["tune.py", "--data", "kaggle_3m"],
        "commit": "c0ffee",
        "versions": {"torch": "1.2.3", "ray": "4.5.6", "optuna": "7.8.9"},
    }


def lanes_json(num_lanes: int) -> dict[str, Any]:
    """Return the entry of config.json about this many lanes."""
    return {"num_lanes": num_lanes, "num_workers": 1, "cpus_per_worker": 2, "gpus_per_worker": 0.0}


def write_experiment(
    folder: Path, rows: list[TrialRow], *, metrics: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """Write a small search (table, config.json with changes, metrics.json if there are any) and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    record = experiment_json() | {key: value for key, value in changes.items() if key != "config"}
    record["config"] |= {"name": folder.name, "preprocessing": {"size": 128}} | changes.get("config", {})
    (folder / "config.json").write_text(json.dumps(record))
    for row in rows:
        append_row(folder / "trials.jsonl", row)
    if metrics:
        (folder / "best").mkdir(exist_ok=True)
        (folder / "best" / "metrics.json").write_text(json.dumps(without_nan(metrics)))
    return folder


def model_metrics(**changes: Any) -> ModelMetrics:
    """Return what is read from a metrics.json with these changes; None leaves an entry out."""
    values = {name: value for name, value in (metrics_json() | changes).items() if value is not None}
    return from_json(ModelMetrics, values, "metrics.json")


def metrics_json() -> dict[str, Any]:
    """Return the metrics.json of a winner on two test patients, one of them with an undefined Dice."""
    names = ("dice", "iou", "precision", "recall", "accuracy")
    test = {name: {"mean": 0.8125, "median": 0.75, "low": 0.5, "high": 0.875} for name in names}
    test["iou"] = {"mean": 0.25, "median": 0.25, "low": math.nan, "high": math.nan}
    patient = {"num_slices": 3, "predicted_pixels": 10, "true_pixels": 12} | dict.fromkeys(names, 0.5)
    return {
        "trial": "t001",
        "sample": trial_row(1, []).sample,
        "epoch": 2,
        "threshold": 0.5,
        "test": {"num_patients": 2} | test,
        "test_patients": [patient | {"patient": "E"}, patient | {"patient": "F", "dice": math.nan}],
        "validation": {"num_patients": 1} | test | {"dice": test["dice"] | {"mean": 0.6875}},
        "name": "t001",
        "num_networks": 1,
        "num_parameters": 123456,
        "component_share": 0.0,
        "flips": True,
        "temperature": 1.0,
        "num_test_scorings": 1,
        "candidates": [{"name": "t001", "reported_dice": 0.75, "rescored_dice": 0.6875, "num_parameters": 123456}],
        "choices": [
            {"name": "flips", "value": True, "measure": "mean Dice", "before": 0.625, "after": 0.6875, "kept": True}
        ],
        "assessment": {
            "by_lesion_size": [{"name": "below 5 ml", "num_patients": 1, "dice": test["dice"]}],
            "by_group": [],
            "calibration": {
                "ece": 0.03125,
                "nll": 0.125,
                "bins": [
                    {"low": 0.0, "high": 0.5, "mean_probability": 0.25, "tumour_share": 0.125, "num_pixels": 10},
                    {"low": 0.5, "high": 1.0, "mean_probability": math.nan, "tumour_share": math.nan, "num_pixels": 0},
                ],
            },
            "diagnosis": {"sensitivity": 0.9375, "specificity": 0.53125, "auc": 0.96875},
            "as_notebooks": [{"name": "slice-wise Dice, empty = 1", "value": 0.9921875, "description": "flattered"}],
        },
        "parity": {"max_probability_difference": 2e-6, "dice_difference": 0.0, "num_slices": 4},
        "pareto_front": [],
        "pictures": {},
    }
