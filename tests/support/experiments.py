"""Folders of experiments as a search leaves them, which take milliseconds to write."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from search.config import SearchConfig
from search.experiment import config_record
from search.record.epochs import EpochMetrics
from search.record.trials import State, TrialRow, append_row
from search.space.named import CORE
from search.space.space import describe
from tests.support.fakes import experiment_json, lanes_json, learning_curve, metrics_json

SPLIT = {
    "train": [f"A{i}" for i in range(5)],
    "val": ["V0", "V1"],
    "test": [f"T{i}" for i in range(8)],
}

DICES = {patient: 0.5 + 0.03125 * i for i, patient in enumerate(SPLIT["test"])}
"""Test Dice by patient, in binary fractions so that differences are exact."""


def write_experiment(
    out: Path,
    name: str,
    *,
    rows: list[TrialRow] | None = None,
    dices: Mapping[str, float | None] | None = None,
    config: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
) -> Path:
    """Write a search of six trials and return its folder; with test Dice by patient, its best trial is promoted."""
    folder = out / name
    folder.mkdir(parents=True)
    record = experiment_json()
    record["config"] = config_record(SearchConfig(name=name, out=out, trials=6, **config or {}))
    record["data"] |= {"split": SPLIT, "num_slices": {"train": 50}, "num_tumour_slices": {"train": 20}} | (data or {})
    record |= {"space": describe(CORE), "platform": "Linux", "python": "3.11", "known": {"earlier": [], "first": []}}
    record["lanes"] = lanes_json(1)
    (folder / "config.json").write_text(json.dumps(record | (run or {})))
    for row in search_rows() if rows is None else rows:
        append_row(folder / "trials.jsonl", row)
    if dices is not None:
        (folder / "best").mkdir()
        (folder / "best/metrics.json").write_text(json.dumps(promoted(dices) | (metrics or {})))
    return folder


def promoted(dices: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the metrics.json of a model with these test Dice by patient."""
    metrics = metrics_json()
    finite = [dice for dice in dices.values() if dice is not None]
    summary = {"mean": float(np.mean(finite)), "median": float(np.median(finite)), "low": 0.5, "high": 0.75}
    counts = {"num_slices": 3, "num_pixels": 300, "true_pixels": 12, "predicted_pixels": 10}
    counts |= dict.fromkeys(("iou", "precision", "recall", "accuracy"), 0.5)
    metrics["test"] = {"num_patients": len(dices), "dice": summary}
    metrics["test_patients"] = [counts | {"patient": patient, "dice": dice} for patient, dice in dices.items()]
    metrics["assessment"] = {}
    metrics["validation"] = {"num_patients": 2, "dice": {"mean": 0.6875, "median": 0.6875, "low": 0.5, "high": 0.75}}
    return metrics


def search_rows(num_trials: int = 6, *, seed: int = 0, seconds: float = 2.0) -> list[TrialRow]:
    """Return trials of the core space that ran one after the other; every second one was stopped after two epochs."""
    rng = np.random.default_rng(seed)
    rows, elapsed = [], 0.0
    for number in range(num_trials):
        rate, dropout, weight = rng.uniform(-4, -2), rng.uniform(0, 0.5), rng.uniform()
        sample = {
            "learning_rate": float(10**rate),
            "depth": int(rng.integers(2, 6)),
            "dropout": float(dropout),
            "bce_weight": float(weight),
        }
        epochs = []
        for epoch in range(1, 4 - number % 2):
            elapsed += seconds
            dice = learning_curve(sample, epoch)
            epochs.append(EpochMetrics(epoch=epoch, val_dice=dice, seconds=seconds, elapsed_seconds=elapsed))
        state = State.PRUNED if number % 2 else State.COMPLETE
        rows.append(
            TrialRow(number=number, state=state, sample=sample, epochs=tuple(epochs), seconds=seconds * len(epochs))
        )
    return rows
