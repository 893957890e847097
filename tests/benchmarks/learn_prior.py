"""Learn what the Gaussian process believes before the first trial, from recorded learning curves.

    python tests/benchmarks/learn_prior.py [--tasks phantom_easy lgg_0 ...]

The belief (search/suggestion/gaussian_process.py) is the one under which the recorded Dice at the end of training are
the most likely, over all tasks together. It is learned from all tasks, which is what the program ships, and for each
task from the others, which is what a replay of that task may use (search_efficiency.py). The script prints how
likely a task is under the belief that the program has now, and under the one that was learned from the other tasks,
both in nats a training. Tasks with the same source of patients are not each other's others.

The result is `results/priors.json` beside this file. The last line of output is the belief learned from all tasks.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.support
from data.atomic import write
from search.record.provenance import commit
from search.space.named import CORE
from search.suggestion.gaussian_process import SHARES, Prior, condition
from search.suggestion.unit_cube import Points, UnitCube
from tests.support.recorded_curves import RecordedCurves, read_curves

BOUNDS = {
    "level": (0.2, 0.95),
    "depth": (1e-4, 0.5),
    "depth_deviation": (0.03, 0.5),
    "amplitude": (5e-3, 0.3),
    "length": (0.1, 3.0),
    "noise": (3e-3, 0.1),
}
"""What is learned, and within which limits. A few tasks cannot show how much others differ, so the level's deviation
stays and the depth's has a floor. The bowl's width stays, because only the depth for a width matters."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Learn the belief of the Gaussian process."""

    tasks: tuple[str, ...] = ()
    """Names of the tasks; all that are recorded if none is given."""

    folder: Path = Path(__file__).parent / "results" / "curves"
    """Where the tasks are."""

    out: Path = Path(__file__).parent / "results" / "priors.json"
    """The file with what was learned."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The ends of the trainings of a task; a configuration is there once for each seed."""

    points: Points
    dices: np.ndarray

    def log_likelihood(self, prior: Prior) -> float:
        """Return the logarithm of the probability density of the ends, divided by their number."""
        dices = np.maximum(self.dices, self.dices.max() - prior.lowest)
        centre, noise = self.points[0], np.full(len(dices), prior.noise)
        posterior = condition(prior, centre, self.points, dices, noise)
        squares = (dices - prior.mean(self.points, centre)) @ posterior.weights
        determinant = 2 * np.log(np.diag(posterior.factor)).sum()
        return -0.5 * (squares + determinant + len(dices) * np.log(2 * np.pi)) / len(dices)


def main(arguments: Arguments) -> None:
    names = arguments.tasks or sorted(file.stem for file in arguments.folder.glob("*.npz"))
    curves = {name: read_curves(arguments.folder / f"{name}.npz") for name in names}
    without = {name: learn_prior(_others(curves, name)) for name in names}
    for name in names:
        before, after = (ends_of(curves[name]).log_likelihood(prior) for prior in (Prior(), without[name]))
        print(f"{name}: {before:.3f} with the belief that the program has, {after:.3f} with one from the other tasks")
    found = {"all": learn_prior(list(curves.values())), "without": without, "commit": commit()}
    text = json.dumps(found, default=asdict, indent=1)
    write(arguments.out, f"{text}\n".encode())
    print(json.dumps(asdict(found["all"])))


def _others(curves: Mapping[str, RecordedCurves], name: str) -> list[RecordedCurves]:
    """Return the tasks with patients from elsewhere: another split of the same patients would tell too much."""
    return [task for task in curves.values() if _source(task) != _source(curves[name])]


def _source(task: RecordedCurves) -> str:
    return str(task.header["data"]).partition(":")[0]  # phantom:9 is a part of phantom:24


def read_priors(path: Path) -> dict[str, Prior]:
    """Return, for each task, what was learned from the others."""
    return {name: _prior(values) for name, values in json.loads(path.read_text())["without"].items()}


def _prior(values: dict[str, Any]) -> Prior:
    gains, deviations = (tuple(values.pop(name)) for name in ("gains", "gain_deviations"))
    return Prior(**values, gains=gains, gain_deviations=deviations)


def ends_of(task: RecordedCurves) -> Ends:
    """Return the validation Dice at the end of every training."""
    points = UnitCube(CORE).encode(*task.samples)
    num_seeds = task.validation.shape[1]
    return Ends(points=np.repeat(points, num_seeds, axis=0), dices=task.validation[:, :, -1].reshape(-1))


def learn_prior(tasks: Sequence[RecordedCurves]) -> Prior:
    """Return the belief under which the tasks are the most likely; the usual one if there are none."""
    if not tasks:
        return Prior()
    ends, usual = [ends_of(task) for task in tasks], Prior()
    names, limits = list(BOUNDS), np.log(np.array(list(BOUNDS.values())))
    start = np.log([np.clip(getattr(usual, name), *BOUNDS[name]) for name in names])

    def loss(logs: np.ndarray) -> float:
        prior = replace(usual, **dict(zip(names, np.exp(logs).tolist(), strict=True)))
        return -sum(one.log_likelihood(prior) for one in ends)

    found = np.exp(minimize(loss, start, bounds=limits, method="L-BFGS-B").x)
    gains, deviations = learn_gains(tasks, usual.lowest)
    values = {name: float(f"{value:.3g}") for name, value in zip(names, found, strict=True)}
    return replace(usual, **values, gains=gains, gain_deviations=deviations)


def learn_gains(tasks: Sequence[RecordedCurves], lowest: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what the rest of a training adds to the Dice after each of SHARES, and its standard deviation.

    Trainings that end further than `lowest` below the best tell nothing about the good ones, and are left out.
    """
    rows = []
    for task in tasks:
        curves = task.validation.reshape(-1, task.num_epochs)
        good = curves[curves[:, -1] >= curves[:, -1].max() - lowest]
        epochs = [max(1, round(share * task.num_epochs)) for share in SHARES]
        rows.append(good[:, -1:] - good[:, np.array(epochs) - 1])
    gains = np.concatenate(rows)
    return tuple(gains.mean(0).round(3).tolist()), tuple(gains.std(0).round(3).tolist())


if __name__ == "__main__":
    main(tyro.cli(Arguments))
