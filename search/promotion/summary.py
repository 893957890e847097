"""The last lines on the screen: which trial won, how good its model is, and where the files are."""

import shlex
from pathlib import Path

from rich.console import Console

from search.record import trial_errors as errors
from search.record.model_metrics import FrontRecord, ModelMetrics
from search.record.trials import State, TrialRow, count_states
from search.storage.working_folder import bucket_uri, display_folder, format_out
from search.tracking.sweep import where_runs_are


def print_summary(folder: Path, rows: list[TrialRow], metrics: ModelMetrics, console: Console) -> None:
    """Print the winner, its hyperparameters, its test Dice with the interval, and the paths of the files."""
    counts = ", ".join(f"{count} {state}" for state, count in count_states(rows).items())
    test, best = metrics.test, folder / "best"
    sample = ", ".join(f"{name} {_short(value)}" for name, value in metrics.sample.items())
    dice = test.dice
    front = ["", *(_describe(one) for one in metrics.pareto_front)]
    lines = [
        "",
        f"{len(rows)} trials ({counts}), {sum(len(row.epochs) for row in rows)} epochs",
        f"Winner      {metrics.name} at epoch {metrics.epoch}: {sample}",
        *([f"Trained     {metrics.final.sentence}"] if metrics.final else []),
        f"Prediction  {_choices(metrics)}",
        *([f"Gain        {metrics.gain_sentence}"] if metrics.gain else []),
        f"Test Dice   {dice.mean:.4f} (95 % interval {dice.interval}, median {dice.median:.4f}) "
        f"over {test.num_patients} patients that the search never saw",
        *_regions(metrics),
        f"Model       {best / 'model.onnx'} (its probabilities differ from the network's by at most "
        f"{metrics.parity.max_probability_difference:.1g})",
        f"Card        {best / 'card.md'}",
        f"Scores      {best / 'metrics.json'}",
        *(f"{'Front' if place == 1 else '':12s}{line}" for place, line in enumerate(front) if place),
        f"Report      {folder / 'report.html'}",
        f"Trials      {folder / 'trials.jsonl'}",
        *([f"Errors      {folder / errors.FOLDER}"] if any(row.state == State.FAILED for row in rows) else []),
        *(f"W&B         {line}" for line in where_runs_are(folder)),
        *_bucket(folder),
        f"Use it      python -m model.predict {shlex.quote(str(best))} PATIENT_FOLDER --out masks",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _bucket(folder: Path) -> list[str]:
    """Return where the experiment is in its bucket, if it has one, and the command that downloads it."""
    if bucket_uri(folder.parent) is None:
        return []
    command = shlex.join(
        ["python", "-m", "search.fetch", folder.name, "--out", format_out(folder.parent), "--to", "runs"]
    )
    return [f"Bucket      {display_folder(folder)}/; to download it: {command}"]


def _regions(metrics: ModelMetrics) -> list[str]:
    """Return the Dice of each of several regions, as one line."""
    dices = (
        f"{name} {found['dice'].mean:.4f} ({found['dice'].interval})" for name, found in metrics.test.by_region.items()
    )
    return [f"By region   {', '.join(dices)}"] if metrics.test.by_region else []


def _choices(metrics: ModelMetrics) -> str:
    """Return how the model predicts, as it was chosen on the validation patients."""
    parts = [f"threshold {_short(value)} for {name}" for name, value in metrics.region_thresholds.items()]
    parts = parts or [f"threshold {_short(metrics.threshold)}"]
    parts += ["averaged over mirror images"] if metrics.flips else []
    parts += [f"components from {_short(metrics.component_share)} of the largest on"] if metrics.component_share else []
    parts += [f"temperature {_short(metrics.temperature)}"] if metrics.temperature != 1 else []
    return ", ".join(parts)


def _describe(point: FrontRecord) -> str:
    """Return a trial of the Pareto front with its objectives."""
    return point.trial + "".join(f", {name} {_short(value)}" for name, value in point.objectives.items())


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
