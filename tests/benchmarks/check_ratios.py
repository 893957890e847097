"""Check that a search cost little beside its training, that its export is exact, and that prediction costs its network.

    python tests/benchmarks/check_ratios.py runs/NAME

.ci/run does this after the first command of the README. Each figure is a ratio within one run, so that machines can be
compared, and has a limit that is several times what is usual, so that a busy machine does not fail it:

    search_over_training     wall clock of the trials times lanes, from the first epoch's start to the last one's end,
                             over the seconds of all epochs
    waiting_share            of an epoch, in which it waited for its next batch
    export_difference        the largest between the exported models and the network, in probability
    prediction_over_network  `python -m model.predict` from files to files, without loading the model, over its network

The last line of output is one JSON object. The status is 1 if a figure is above its limit.
"""

import contextlib
import io
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests, and so that this checkout is measured
from data.preprocess import prepare
from data.readers.phantom_drawing import write_phantom
from model.inference.runtime import load_model
from model.predict.__main__ import main as predict
from model.predict.inputs import find_volumes, read_volume
from search.record.experiment_record import read_experiment
from search.record.files import BEST_FOLDER, METRICS_FILE, TABLE_FILE
from search.record.model_metrics import read_metrics
from search.record.trials import read_rows
from tests.benchmarks.timing import seconds_of

LIMITS = {
    "search_over_training": 1.3,
    "waiting_share": 0.2,
    "export_difference": 1e-4,
    "prediction_over_network": 12.0,
}

NUM_PATIENTS = 2
"""Patients that are predicted in each round."""

NUM_ROUNDS = 3


def main(folder: Annotated[Path, tyro.conf.Positional]) -> int:
    """Return 0 if each figure of an experiment is within its limit, else 1.

    Args:
        folder: The experiment's folder; it has a promoted model.
    """
    found = recorded_ratios(folder)
    with tempfile.TemporaryDirectory() as scratch:
        found["prediction_over_network"] = prediction_over_network(folder / BEST_FOLDER, Path(scratch))
    above = [name for name, value in found.items() if not value <= LIMITS[name]]  # nan is above, too
    print(json.dumps({**{name: float(f"{value:.3g}") for name, value in found.items()}, "above_limit": above}))
    return 1 if above else 0


def recorded_ratios(folder: Path) -> dict[str, float]:
    """Return the figures that follow from what an experiment has recorded."""
    epochs = [epoch for row in read_rows(folder / TABLE_FILE) for epoch in row.epochs]
    training = sum(epoch.seconds for epoch in epochs)
    ends = [(epoch.elapsed_seconds or 0.0, epoch.seconds) for epoch in epochs]
    whole = max(end for end, _ in ends) - min(end - seconds for end, seconds in ends)
    metrics = read_metrics(folder / BEST_FOLDER / METRICS_FILE)
    assert metrics is not None, f"{folder} has no promoted model"
    parities = [one for one in (metrics.parity, metrics.program_parity) if one]
    return {
        "search_over_training": whole * read_experiment(folder).num_lanes / training,
        "waiting_share": sum(epoch.waiting_seconds or 0.0 for epoch in epochs) / training,
        "export_difference": max(parity.max_probability_difference for parity in parities),
    }


def prediction_over_network(model: Path, scratch: Path) -> float:
    """Return the median ratio of the command's time to that of its network, in rounds of one after the other."""
    patients = write_phantom(scratch / "phantoms", num_patients=NUM_PATIENTS, seed=1)
    network, settings = load_model(model)
    batches = []
    for files in find_volumes(patients, settings):
        prepared = prepare(read_volume(files, settings)[0], settings.preprocessing)
        slices = np.ascontiguousarray(prepared.images.transpose(0, 3, 1, 2), np.float32)
        batches += [(one[None], prepared.mean, prepared.std) for one in slices]

    def run_network() -> None:
        for batch in batches:
            network(*batch)

    def run_command(number: int) -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert predict([str(model), str(patients), "--out", str(scratch / f"masks{number}")]) == 0

    ratios = []
    for number in range(NUM_ROUNDS + 1):  # the first warms up
        loading, alone = seconds_of(lambda: load_model(model)), seconds_of(run_network)
        whole = seconds_of(lambda number=number: run_command(number))
        ratios.append((whole - loading) / alone)
    return statistics.median(ratios[1:])


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
