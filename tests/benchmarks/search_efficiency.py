"""Measure what a search finds within a budget, in replays of recorded learning curves.

    python tests/benchmarks/search_efficiency.py [--tasks phantom_0 lgg_0 ...] [--seeds 20]

A search suggests configurations, and each trial follows the recorded curve of the nearest configuration that has not
been tried yet; nothing is interpolated. It sees the validation patients of one recorded training of each configuration.
What it would promote is judged by the test patients, after the last epoch of the other recorded training, so that luck
in choosing does not help. Each replay has a random two thirds of the configurations, and the default. Which patients
are validation and which are test patients is drawn as well, because a few patients prefer what others do not. Searches
of this program promote another configuration than the default only if it is clearly better on the validation
patients, as `search.tune` does; others promote the best mean.

    ours            the searcher and scheduler of `search.tune`'s defaults
    planned         the same within what `--budget` plans: fewer trials, and an average of final seeds at the end
    NAME+NAME       another searcher and scheduler (`--also prior_gp+none`), beginning with the default; a plan with
                    them is planned:NAME+NAME
    random          random configurations, each trained to the end
    near            the default, and then random configurations near it, each trained to the end
    stock           Ray's OptunaSearch and ASHAScheduler with their defaults
    optuna          Optuna alone, with its TPE and its HyperbandPruner
    tpe             Optuna's TPE at full length
    priorband       PriorBand of neural-pipeline-search 0.17, if it is installed
    default         the default configuration, trained once
    default_seeds   the average of networks of the default, as many as the budget has trainings
    oracle          every configuration trained to its end, and the best one by all patients, the test patients among
                    them: the most that can be found with one training of each

For each kind, task and budget (2, 4, 8 and 16 whole trainings) the script prints the regret: how many Dice points the
promoted configuration is worse than the best. The random-equivalent budget is the number of trainings that random
search needs for the same regret, as a multiple of the budget. The last line of output is one JSON object.
"""

import itertools
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.support
from search.record.provenance import commit
from tests.benchmarks.learn_prior import read_priors
from tests.benchmarks.replays import BUDGETS, KINDS, PLANNED, Regrets, Replay


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Replay searches on recorded learning curves."""

    tasks: tuple[str, ...] = ()
    """Names of the tasks; all that are recorded if none is given."""

    seeds: int = 20
    """Replays of each kind on each task."""

    lanes: tuple[int, ...] = (1, 16)
    """Numbers of trials that run at the same time."""

    also: tuple[str, ...] = ()
    """Further kinds of search, as SEARCHER+SCHEDULER or planned:SEARCHER+SCHEDULER."""

    folder: Path = Path(__file__).parent / "results" / "curves"
    """Where the tasks are."""

    priors: Path = Path(__file__).parent / "results" / "priors.json"
    """What learn_prior.py learned. A replay with `prior_gp` gets what was learned from other tasks, if the file is
    there."""


def main(arguments: Arguments) -> None:
    tasks = arguments.tasks or sorted(file.stem for file in arguments.folder.glob("*.npz"))
    if not tasks:
        raise SystemExit(
            f"no task is recorded in {arguments.folder}: python tests/benchmarks/record_curves.py records one"
        )
    files = [arguments.folder / f"{name}.npz" for name in tasks]
    kinds = (*KINDS, *arguments.also)
    priors = read_priors(arguments.priors) if arguments.priors.exists() else {}
    report: dict[str, dict[str, Regrets]] = {}
    with ProcessPoolExecutor() as pool:
        for num_lanes, file, kind in itertools.product(arguments.lanes, files, kinds):
            replays = [
                Replay(file=file, kind=kind, num_lanes=num_lanes, seed=seed, prior=priors.get(file.stem))
                for seed in range(arguments.seeds)
            ]
            found = list(pool.map(Replay.regrets, replays))
            means = {budget: float(np.mean([one[budget] for one in found])) for budget in BUDGETS}
            report.setdefault(f"{kind} x{num_lanes}", {})[file.stem] = means
            error = np.std([one[8] for one in found], ddof=1) / np.sqrt(len(found))
            shown = " ".join(f"B={budget}: {means[budget]:.2f}" for budget in BUDGETS)
            print(f"{file.stem} {kind} x{num_lanes}: {shown} (+- {error:.2f} at 8)", flush=True)
    print(json.dumps(summary(report, arguments.lanes[0]) | {"seeds": arguments.seeds, "commit": commit()}))


def summary(report: dict[str, dict[str, Regrets]], num_lanes: int) -> dict[str, object]:
    """Return the figures of the last line."""
    default = report[f"default x{num_lanes}"]
    found: dict[str, object] = {"regret": report}
    for (prefix, kind), peer in itertools.product((("", "ours"), ("planned_", PLANNED)), ("random", "stock")):
        regrets, peers = report[f"{kind} x{num_lanes}"], report[f"{peer} x{num_lanes}"]
        ratios = [equivalent(regrets[task][8], peers[task]) / 8 for task in regrets]
        found |= {f"{prefix}{peer}_equivalent_at_8": round(float(np.median(ratios)), 2)}
        found |= {f"{prefix}{peer}_equivalent_at_8_worst": round(min(ratios), 2)}
    for name, kind in (("gain", "ours"), ("planned_gain", PLANNED), ("oracle_gain", "oracle")):
        gains = [default[task][8] - regrets[8] for task, regrets in report[f"{kind} x{num_lanes}"].items()]
        found |= {f"{name}_over_default_at_8_dice": round(float(np.mean(gains)) / 100, 4)}
    return found


def equivalent(regret: float, peer: Regrets) -> float:
    """Return the trainings that a peer needs for a regret, on a line between its budgets; its last budget if more."""
    budgets = sorted(peer)
    lowest = np.minimum.accumulate([peer[budget] for budget in budgets])  # more trainings never promote anything worse
    if regret >= lowest[0]:
        return float(budgets[0])
    return float(np.interp(-regret, -lowest, budgets))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
