"""Measure what a plain U-Net reaches on a folder of patients, by patient-level cross-validation without a search.

    python tests/benchmarks/plain_unet.py --data path/to/kaggle_3m [--folds 5] [--epochs 20]

Each fold trains one fixed, ordinary configuration on the patients of the other folds. It scores its own patients after
the last epoch (not the best one), at the size of their masks. Every patient is scored once, so the mean shows what to
expect of a search on so few patients, and the spread shows how little a test set of a few patients can tell. The last
line of output is one JSON object.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout is what is measured
from data.packing.pack import pack_patients
from data.preprocess import Preprocessing
from data.source import find_source
from model.export.predictor import Predictor, torch_network
from model.scoring.evaluate import evaluate
from model.scoring.scores import PatientScore
from model.scoring.summary import summarise
from model.settings import Settings
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from search.record.codec import without_nan
from search.record.provenance import commit


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Cross-validate a plain U-Net."""

    data: str = "phantom"
    """Patients, as for `search.tune`."""

    folds: int = 5
    """Number of folds; the patients are dealt out to them in the order of their ids."""

    size: int = 128
    """Side of a slice in pixels."""

    epochs: int = 20
    """Epochs per training."""

    learning_rate: float = 2e-3
    """Peak learning rate."""

    seed: int = 0
    """Seed of weights, order, augmentation and dropout."""


def main(arguments: Arguments) -> None:
    started = time.perf_counter()
    patients = find_source(arguments.data, phantom_root=Path(tempfile.gettempdir())).patients
    pack = pack_patients(patients, Preprocessing(size=arguments.size))
    unet = UNetConfig(depth=4, width=16, dropout=0.1)
    config = TrainConfig(
        max_epochs=arguments.epochs, learning_rate=arguments.learning_rate, bce_weight=0.4, seed=arguments.seed
    )
    settings = Settings(preprocessing=Preprocessing(size=arguments.size), channel_names=("pre", "flair", "post"))
    scores: list[PatientScore] = []
    for fold in range(arguments.folds):
        val_patients = patients[fold :: arguments.folds]
        val_ids = tuple(patient.id for patient in val_patients)
        train_ids = tuple(patient.id for patient in patients if patient.id not in val_ids)
        *_, last = train(unet, config, pack.select(train_ids), pack.select(val_ids))
        network = torch_network(Predictor([last.state.network]), next(last.state.network.parameters()).device)
        for score in evaluate(network, val_patients, settings=settings):
            print(f"{score.patient} {score.dice:.4f} of {score.true_pixels} pixels", flush=True)
            scores.append(score)
    result = {
        "summary": {"num_patients": len(scores)}
        | {name: asdict(metric) for name, metric in summarise(scores).by_metric.items()},
        "patients": [asdict(score) for score in scores],
        "arguments": asdict(arguments),
        "seconds": round(time.perf_counter() - started, 1),
        "cores": os.cpu_count(),
        "commit": commit(),
    }
    print(json.dumps(without_nan(result)))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
