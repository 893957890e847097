"""The W&B sweep of an experiment, whose page shows all runs beside the space that they come from.

W&B suggests nothing: its sweep is a description, made once, that every run is attached to. The experiment's folder
remembers it, so that a search that is resumed uses the same one.
"""

from dataclasses import asdict
from pathlib import Path

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search.record.epochs import METRIC
from search.record.jsonl import append_line, read_lines
from search.space.space import Space
from search.tracking.messages import Sweep
from search.tracking.outage import how_to_send, noted_outage

SWEEPS_FILE = "sweeps.jsonl"


def recorded_sweeps(folder: Path) -> list[Sweep]:
    """Return the sweeps of an experiment, one for each place, the newest last."""
    return [Sweep(**values) for values in read_lines(folder / SWEEPS_FILE)]


def record_sweep(folder: Path, sweep: Sweep) -> None:
    """Remember a sweep if it is new."""
    if sweep not in recorded_sweeps(folder):
        append_line(folder / SWEEPS_FILE, asdict(sweep), durable=True)


def where_runs_are(folder: Path) -> list[str]:
    """Return where the runs of an experiment can be looked at, in one line each; none if W&B has none."""
    lines = [line for sweep in recorded_sweeps(folder)[-1:] for line in (sweep.url, sweep.group_url)]
    if any((folder / "wandb").glob("offline-run-*")) and (not lines or noted_outage(folder)):
        lines.append(f"offline; {how_to_send(folder.resolve())}")
    return lines


def sweep_config(space: Space, *, name: str, searcher: str) -> dict[str, object]:
    """Return a space as the configuration of a W&B sweep; its parameters are named as in the config of a run."""
    return {
        "name": name,
        # W&B knows `grid`, `random` and `bayes`, and is asked for no suggestion. This only tells a reader what comes
        # nearest: configurations that learn from earlier ones.
        "method": "bayes",
        "metric": {"name": METRIC, "goal": "maximize"},
        "program": "search.tune",
        "description": f"Experiment {name} of `python -m search.tune`. Its configurations come from Optuna, searcher "
        f"{searcher}: no W&B agent takes part.",
        "parameters": {axis: _parameter(distribution) for axis, distribution in space.items()}
        | {name: {"value": value} for name, value in space.constants.items()},
    }


def _parameter(axis: BaseDistribution) -> dict[str, object]:
    if isinstance(axis, CategoricalDistribution):
        return {"values": list(axis.choices)}
    assert isinstance(axis, IntDistribution | FloatDistribution)
    words: dict[str, object] = {"min": axis.low, "max": axis.high}
    if axis.log:
        kind = "q_log_uniform_values" if isinstance(axis, IntDistribution) else "log_uniform_values"
    elif axis.step in (None, 1):
        kind = "int_uniform" if isinstance(axis, IntDistribution) else "uniform"
    else:
        kind, words = "q_uniform", words | {"q": axis.step}
    return {"distribution": kind, **words}
