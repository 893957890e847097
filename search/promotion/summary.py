"""The last lines on the screen: who won, how good it is, and where everything lies."""

import shlex
from pathlib import Path

from rich.console import Console

from search.record import trial_errors as errors
from search.record.model_metrics import FrontRecord, ModelMetrics
from search.record.trials import State, TrialRow, count_states
from search.storage.working_folder import bucket_uri, display_folder, format_out
from search.tracking.opening import where_runs_are


def print_summary(folder: Path, rows: list[TrialRow], metrics: ModelMetrics, console: Console) -> None:
    """Print the winner, its parameters, its test Dice with the interval, and the paths of what was written."""
    counts = ", ".join(f"{count} {state}" for state, count in count_states(rows).items())
    test, best = metrics.test, folder / "best"
    sample = ", ".join(f"{name} {_short(value)}" for name, value in metrics.sample.items())
    dice = test.dice
    front = ["", *(_describe(one) for one in metrics.pareto_front)]
    lines = [
        "",
        f"{len(rows)} trials ({counts}), {sum(len(row.epochs) for row in rows)} epochs",
        f"Winner      {metrics.name} at epoch {metrics.epoch}: {sample}",
        f"With        {_surroundings(metrics)}",
        f"Test Dice   {dice.mean:.4f} (95 % interval {dice.interval}, median {dice.median:.4f}), "
        f"{test.num_patients} patients that the search never saw",
        f"Model       {best / 'model.onnx'} (differs from the network by at most "
        f"{metrics.parity.max_probability_difference:.1g} in probability)",
        f"Card        {best / 'card.md'}",
        f"Scores      {best / 'metrics.json'}",
        *(f"{'Front' if place == 1 else '':12s}{line}" for place, line in enumerate(front) if place),
        f"Report      {folder / 'report.html'}",
        f"Trials      {folder / 'trials.jsonl'}",
        *([f"Errors      {folder / errors.FOLDER}"] if any(row.state == State.FAILED for row in rows) else []),
        *(f"W&B         {line}" for line in where_runs_are(folder)),
        *_bucket(folder),
        f"Use it      python -m model.predict {best} PATIENT_FOLDER --out masks",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _bucket(folder: Path) -> list[str]:
    """Return where all of it is too, if it is in a bucket, and how it comes down elsewhere."""
    if bucket_uri(folder.parent) is None:
        return []
    command = shlex.join(
        ["python", "-m", "search.fetch", folder.name, "--out", format_out(folder.parent), "--to", "runs"]
    )
    return [f"Bucket      {display_folder(folder)}/; elsewhere: {command}"]


def _surroundings(metrics: ModelMetrics) -> str:
    """Return what was chosen on the validation patients."""
    parts = [f"threshold {_short(metrics.threshold)}"]
    parts += ["averaged with its mirror image"] if metrics.flips else []
    parts += ["its largest component only"] if metrics.largest_component else []
    parts += [f"temperature {_short(metrics.temperature)}"] if metrics.temperature != 1 else []
    return ", ".join(parts)


def _describe(point: FrontRecord) -> str:
    """Return a trial of the Pareto front in a line."""
    return point.trial + "".join(f", {name} {_short(value)}" for name, value in point.objectives.items())


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
