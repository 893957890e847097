"""The W&B sweep of an experiment: one, whose page shows all of its runs beside the space that they come from.

W&B suggests nothing: its sweep is a description, made once, to which every run is attached. Which one it is, the
experiment's folder remembers, so that a search that goes on goes on in it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from search.record.epochs import METRIC
from search.record.jsonl import append_line, read_lines
from search.space import Space
from search.tracking.apart import ask

SWEEPS_FILE = "sweeps.jsonl"

CLIENT = "search.tracking.client"

SWEEP_TIMEOUT_SECONDS = 20.0
"""How long a search waits for W&B before it begins without: some seconds to start the client, and an answer."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep on a server."""

    place: str
    """Server, entity and project that were asked for: another project has another sweep."""

    entity: str
    project: str
    id: str
    url: str
    group_url: str
    """The page of the experiment's runs as one group beside the project's other experiments."""


def recorded_sweeps(folder: Path) -> list[Sweep]:
    """Return the sweeps of an experiment, the newest last: one a place."""
    return [Sweep(**values) for values in read_lines(folder / SWEEPS_FILE)]


def record_sweep(folder: Path, sweep: Sweep) -> None:
    """Remember a sweep, if it is new."""
    if sweep not in recorded_sweeps(folder):
        append_line(folder / SWEEPS_FILE, asdict(sweep), durable=True)


def open_sweep(
    folder: Path, space: Space, *, name: str, project: str, searcher: str, silent_seconds: float = SWEEP_TIMEOUT_SECONDS
) -> Sweep:
    """Return the experiment's sweep, made if there is none yet, after the server has answered.

    Raises:
        TimeoutError: It does not answer in time.
        RuntimeError: It refuses; the key is wrong; or it cannot be reached.
    """
    question = sweep_question(folder, space, name=name, project=project, searcher=searcher) | {"runs": []}
    *_, said = ask(CLIENT, question, silent_seconds=silent_seconds, folder=folder)
    sweep = Sweep(**said["sweep"])
    record_sweep(folder, sweep)
    return sweep


def sweep_question(folder: Path, space: Space, *, name: str, project: str, searcher: str) -> dict[str, Any]:
    """Return what W&B's client must know to find or make the sweep (client.py)."""
    return {
        "name": name,
        "project": project,
        "sweeps": [asdict(sweep) for sweep in recorded_sweeps(folder)],
        "sweep_config": sweep_config(space, name=name, searcher=searcher),
    }


def sweep_config(space: Space, *, name: str, searcher: str) -> dict[str, Any]:
    """Return a space as the configuration of a W&B sweep; its parameters have the names that a run's config has."""
    return {
        "name": name,
        # W&B knows `grid`, `random` and `bayes`. It is asked for no suggestion, so this only tells a reader what
        # comes nearest: configurations that learn from those before.
        "method": "bayes",
        "metric": {"name": METRIC, "goal": "maximize"},
        "program": "search.tune",
        "description": f"Experiment {name} of `python -m search.tune`. Its configurations come from Optuna, searcher "
        f"{searcher}: no W&B agent takes part.",
        "parameters": {axis: _parameter(distribution) for axis, distribution in space.items()},
    }


def _parameter(axis: BaseDistribution) -> dict[str, Any]:
    if isinstance(axis, CategoricalDistribution):
        return {"values": list(axis.choices)}
    if isinstance(axis, IntDistribution):
        kind = "q_log_uniform_values" if axis.log else "int_uniform"
    else:
        kind = "log_uniform_values" if axis.log else "uniform"
    return {"distribution": kind, "min": axis.low, "max": axis.high}
