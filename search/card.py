"""The model card: what a person must know before using the model."""

import math
from typing import Any

from search.objectives import OBJECTIVES
from search.trials import TrialRow, count_states

TEMPLATE = """\
# Tumour segmentation model {name}

A U-Net that marks brain tumours in MRI slices with three channels (pre-contrast, FLAIR, post-contrast).
**For research. Not a medical device: no one's diagnosis or treatment may rest on it.**

## Use

    python -m model.predict {folder} PATIENT_FOLDER --out masks

The file `model.onnx` takes raw intensities (`slices`, float32, batch x channels x height x width, resized to
{size} pixels) and their volume's `mean` and `std`; it gives `probability` and, from {threshold} on, `mask`.

## Scores on {num_test} test patients

The search never saw these patients. Dice is volumetric: all slices of a patient pooled, then the mean over patients;
intervals are 95 % bootstrap intervals over patients.

| metric | mean | 95 % interval | median |
|---|---|---|---|
{scores}

## Data

{data}: {num_patients} patients, split by patient with seed {seed}: {num_train} train, {num_val} validation,
{num_test} test. {skipped}Fingerprint {fingerprint}.

## Search

{num_trials} trials ({states}) over {space}; the winner is {trial}, chosen by its Dice on the validation patients
({val_dice:.4f} when its checkpoint was scored again, {reported_dice:.4f} during training).{rule}

| hyperparameter | value |
|---|---|
{sample}

## Limits

Trained on slices of the data above and nothing else: other scanners, sequences, tumours, ages, or heads after surgery
may give anything. Small lesions are missed more often than large ones. A mean over {num_test} patients says little
about the next one; see the row of each patient in metrics.json.

## Reproduce

    {command}

Commit {commit}; torch {torch}, ray {ray}, optuna {optuna}. The licence of the data applies to what is derived from it
(LGG MRI Segmentation: CC BY-NC-SA 4.0).
"""


def write_card(run: dict[str, Any], metrics: dict[str, Any], rows: list[TrialRow], winner: TrialRow) -> str:
    """Return the card's Markdown, from the experiment's config.json, its metrics.json and its table."""
    split = run["data"]["split"]
    return TEMPLATE.format(
        name=run["config"]["name"],
        folder=f"{run['config']['out']}/{run['config']['name']}/best",
        size=run["config"]["preprocessing"]["size"],
        threshold=metrics["threshold"],
        scores="\n".join(_score_line(name, summary) for name, summary in _summaries(metrics["test"])),
        data=run["data"]["source"],
        num_patients=sum(map(len, split.values())),
        num_train=len(split["train"]),
        num_val=len(split["val"]),
        num_test=len(split["test"]),
        seed=run["config"]["seed"],
        skipped=_skipped(run["data"].get("skipped", [])),
        fingerprint=run["data"]["fingerprint"][:16],
        num_trials=len(rows),
        states=", ".join(f"{count} {state}" for state, count in count_states(rows).items() if count),
        space=", ".join(run["space"]),
        trial=winner.id,
        rule=_rule(run["config"]),
        val_dice=metrics["validation"]["dice"]["mean"],
        reported_dice=winner.best_dice,
        sample="\n".join(f"| {name} | {value} |" for name, value in winner.sample.items()),
        command=f"python -m search.tune {' '.join(run['command'][1:])}",
        commit=run["commit"] or "unknown",
        **{package: run["versions"][package] for package in ("torch", "ray", "optuna")},
    )


def _skipped(problems: list[str]) -> str:
    """Return what was left out of the data, in a sentence; nothing where nothing was."""
    if not problems:
        return ""
    return f"Left out, as files that cannot be used: {len(problems)}; config.json of the search names each.\n"


def _rule(config: dict[str, Any]) -> str:
    """Return how one was chosen among several objectives; nothing where Dice alone counted."""
    if len(config["objective"]) == 1:
        return ""
    return (
        f"\nOf the trials whose validation Dice was at most {config['dice_tolerance']:g} below the best one's, it is "
        f"the best by {OBJECTIVES[config['objective'][1]].label}."
    )


def _summaries(summary: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return [(name, value) for name, value in summary.items() if isinstance(value, dict)]


def _score_line(name: str, summary: dict[str, float]) -> str:
    return f"| {name} | {summary['mean']:.4f} | {format_interval(summary)} | {summary['median']:.4f} |"


def format_interval(summary: dict[str, float]) -> str:
    """Return the interval for people; a dash where there are too few patients for one."""
    if summary["low"] is None or not math.isfinite(summary["low"]):  # JSON has no nan
        return "-"
    return f"{summary['low']:.4f} to {summary['high']:.4f}"
