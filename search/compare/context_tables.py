"""Tables of how experiments reached their results: budget, winners, importance of hyperparameters, differences."""

from collections.abc import Sequence

from data.errors import UserError
from search.compare.differences import Differences, config_differences, data_differences, environment_differences
from search.compare.experiments import Experiment
from search.compare.table import Table, by_experiment, names_of
from search.formatting import DASH, format_duration
from search.record.experiment_record import LanesRecord
from search.record.files import BEST_FOLDER, METRICS_FILE, TABLE_FILE
from search.record.model_metrics import ModelMetrics
from search.record.trials import best_first, count_states
from search.report.importance import Importance
from search.storage.status import wall_seconds

MODEL_FACTS = ("epoch", "num_networks", "num_parameters", "threshold", "flips", "component_share", "temperature")
"""What the table of winners shows of a promoted model, after its hyperparameters."""


def budget(experiments: Sequence[Experiment]) -> Table:
    """Return a table of what each experiment spent."""
    rows = {
        "state": lambda one: one.status.value,
        "trials ended": lambda one: f"{len(one.ended)} of {one.record.num_trials}",
        "COMPLETE / PRUNED / FAILED": lambda one: " / ".join(map(str, count_states(one.rows).values())),
        "epochs": lambda one: str(one.num_epochs),
        "wall clock": lambda one: format_duration(wall_seconds(one.rows)),
        "training time": lambda one: format_duration(sum(row.seconds for row in one.rows)),
        "lanes x workers": lambda one: _lanes(one.record.lanes),
    }
    notes = ["The training time is the sum over all epochs of all lanes."]
    notes += [
        f"{one.name}: {len(one.rows) - len(one.ended)} more trial(s) have not ended yet; their epochs are included."
        for one in experiments
        if len(one.rows) > len(one.ended)
    ]
    return by_experiment("budget", "Budget", experiments, rows, notes)


def winners(experiments: Sequence[Experiment]) -> Table:
    """Return a table of the promoted model's hyperparameters, or else of the best trial's.

    It shows every hyperparameter that was searched in one of the experiments.
    """
    axes = dict.fromkeys(name for one in experiments for row in one.rows for name in row.sample)
    found = [_winner(one, list(axes)) for one in experiments]
    keys = dict.fromkeys(key for winner in found for key in winner)
    notes = []
    if unpromoted := [one.name for one in experiments if one.metrics is None]:
        notes.append(
            f"No model was promoted in {', '.join(unpromoted)}: the trial with the best validation Dice is shown."
        )
    return Table(
        id="winners",
        title="Winners",
        header=names_of(experiments),
        rows=tuple((key, *(_value(winner[key]) if key in winner else DASH for winner in found)) for key in keys),
        notes=tuple(notes),
    )


def importance(experiments: Sequence[Experiment]) -> Table:
    """Return a table of the importance of each hyperparameter in each experiment."""
    found = [{share.name: share for share in one.importances} for one in experiments]
    names = dict.fromkeys(name for shares in found for name in shares)
    ranked = sorted(names, key=lambda name: -max(shares[name].mean for shares in found if name in shares))
    rows = [(name, *(_share(shares.get(name)) for shares in found)) for name in ranked]
    notes = ["Fraction of the variance of the Dice (Optuna's fANOVA), with its range over resamplings of the trials."]
    notes += [
        f"{one.name}: unknown; this needs {one.num_trials_for_importances} trials with different scores."
        for one in experiments
        if not one.importances
    ]
    return Table(
        id="importance",
        title="Importance of hyperparameters",
        header=names_of(experiments),
        rows=tuple(rows),
        notes=tuple(notes if rows else notes[1:]),
    )


def differences(experiments: Sequence[Experiment]) -> list[Table]:
    """Return a table of the options that differ, one for the data, and one for versions and machines."""
    found = {
        ("options", "Differences in options", "None, except for their names."): config_differences(experiments),
        ("data", "Differences in data", "None: the pixels and the split are the same."): data_differences(experiments),
        ("environment", "Differences in versions and machines", "None."): environment_differences(experiments),
    }
    return [
        _difference_table(id, title, nothing, values, experiments) for (id, title, nothing), values in found.items()
    ]


def _difference_table(
    id: str, title: str, nothing: str, found: Differences, experiments: Sequence[Experiment]
) -> Table:
    rows = tuple((key, *texts) for key, texts in found.items())
    notes = () if rows else (nothing,)
    return Table(id=id, title=title, header=names_of(experiments), rows=rows, notes=notes)


def _winner(experiment: Experiment, axes: Sequence[str]) -> dict[str, object]:
    """Return the name, hyperparameters and facts of a winner; an axis that was not searched has its fixed value."""
    best = best_first(experiment.rows)
    if metrics := experiment.metrics:
        name, sample, said = metrics.name, metrics.sample, _model_facts(metrics)
        source = f"{BEST_FOLDER}/{METRICS_FILE}"
    elif best:
        name, sample, said = best[0].id, best[0].sample, {"epoch": best[0].best_epoch_number}
        source = TABLE_FILE
    else:
        return {}
    try:
        values = experiment.hyperparameters(sample)
    except (ValueError, UserError) as error:
        raise UserError(f"the winner of {experiment.name}, as its {source} says, is not legal: {error}") from error
    return {"winner": name} | {axis: values[axis] for axis in axes} | said


def _model_facts(metrics: ModelMetrics) -> dict[str, object]:
    facts: dict[str, object] = {key: getattr(metrics, key) for key in MODEL_FACTS}
    if not metrics.region_thresholds:
        return facts
    del facts["threshold"]
    facts.update({f"threshold of {region}": value for region, value in metrics.region_thresholds.items()})
    return facts


def _share(found: Importance | None) -> str:
    return DASH if found is None else f"{found.mean:.2f} ({found.low:.2f} to {found.high:.2f})"


def _lanes(lanes: LanesRecord | None) -> str:
    if lanes is None:
        return DASH
    gpus = f" and {lanes.gpus_per_worker:g} GPU" if lanes.gpus_per_worker else ""
    return f"{lanes.num_lanes} x {lanes.num_workers}, each {lanes.cpus_per_worker} CPU{gpus}"


def _value(value: object) -> str:
    """Return a value of the table of winners."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
