"""Tables of what experiments reached: scores, differences on the test patients, best Dice at equal budgets."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial

from model.scoring.scores import ScoreSummary
from search.compare.differences import lanes_of
from search.compare.experiments import Experiment
from search.compare.significance import LEVEL, Difference, Pair
from search.compare.table import Table, by_experiment, names_of
from search.formatting import DASH, format_duration, format_score
from search.record.efficiency import best_after
from search.record.trials import best_first

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Fractions of the smallest budget at which the best Dice so far is compared."""


def scores(experiments: Sequence[Experiment]) -> Table:
    """Return a table of the scores on validation and test patients."""
    rows = {
        "best validation Dice": _best_validation,
        "median validation Dice": _median_validation,
        "promoted model, validation Dice": lambda one: _mean_of(one.metrics and one.metrics.validation),
        "gain over the default configuration": _gain,
        "promoted model, test Dice": lambda one: _mean_of(one.metrics and one.metrics.test),
        "95 % interval": lambda one: one.metrics.test.dice.interval if one.metrics else DASH,
        **{f"test Dice of {region}": partial(_test_dice_of, region) for region in _regions(experiments)},
        "median test Dice": lambda one: format_score(one.metrics.test.dice.median) if one.metrics else DASH,
        "test patients": lambda one: str(one.metrics.test.num_patients) if one.metrics else DASH,
    }
    notes = ["The median is over the best epochs of all trials. It depends on how early weak trials were stopped."]
    if len({one.regions for one in experiments}) > 1:
        notes.append("The experiments segment different regions, so their Dice cannot be compared.")
    elif len({(one.patients("val"), one.record.data.fingerprint) for one in experiments}) > 1:
        notes.append(
            "The experiments differ in their validation patients or in the preprocessing of slices, so validation Dice "
            "cannot be compared."
        )
    unpromoted = [one.name for one in experiments if one.metrics is None]
    if unpromoted:
        notes.append(f"No model was promoted in {', '.join(unpromoted)}, so there are no test scores.")
    return by_experiment("scores", "Scores", experiments, rows, notes)


def significance(pairs: Sequence[Pair]) -> Table:
    """Return a table of the differences in test Dice, with a column for each pair that was tested."""
    tested = [pair for pair in pairs if pair.difference]
    rows: dict[str, Callable[[Difference], str]] = {
        "common test patients": lambda one: str(one.num_patients),
        "mean difference": lambda one: f"{one.mean.mean:+.4f}",
        "95 % interval": lambda one: f"{one.mean.low:+.4f} to {one.mean.high:+.4f}",
        "better / equal / worse": lambda one: f"{one.num_better} / {one.num_equal} / {one.num_worse}",
        "p (paired bootstrap)": lambda one: format_p(one.p_bootstrap),
        "p (Wilcoxon signed-rank)": lambda one: format_p(one.p_wilcoxon),
    }
    if len(tested) > 1:
        rows["Holm-corrected p (bootstrap)"] = lambda one: format_p(one.holm_bootstrap)
        rows["Holm-corrected p (Wilcoxon)"] = lambda one: format_p(one.holm_wilcoxon)
    notes = []
    if tested:
        corrected = f", corrected for {len(tested)} pairs," if len(tested) > 1 else ""
        notes.append(
            "The values compare the test Dice of both models patient by patient. A difference counts as shown if both "
            f"p-values{corrected} are below {LEVEL}. It is a difference between these two models on patients like "
            "these: another search, with another seed, would promote another model."
        )
    notes += [f"{titles}: {said}." for said, titles in _titles(tested, lambda pair: pair.reservations).items()]
    notes += [f"{titles}: not tested, because {why}." for why, titles in untested(pairs).items()]
    differences = [pair.difference for pair in tested if pair.difference]
    cells = [(name, *map(text, differences)) for name, text in rows.items()]
    verdicts = ("outcome", *(pair.verdict for pair in tested))
    return Table(
        id="significance",
        title="Differences on the test patients",
        header=tuple(pair.title for pair in tested),
        rows=(*cells, verdicts) if tested else (),
        notes=tuple(notes),
    )


def efficiency(experiments: Sequence[Experiment]) -> Table:
    """Return a table of the best Dice so far after equal budgets: fractions of the smallest one, and all full ones."""
    all_steps = [one.steps for one in experiments]
    ends = [steps[-1] for steps in all_steps if steps]
    rows: dict[str, list[float]] = {}
    if ends:
        for budget in _budgets([end.epochs for end in ends]):
            whole = max(1, round(budget))
            rows[f"after {whole} epoch{'s' if whole > 1 else ''}"] = [
                best_after(steps, epochs=whole) for steps in all_steps
            ]
        for budget in _budgets([end.seconds for end in ends]):
            rows[f"after {format_duration(budget)}"] = [best_after(steps, seconds=budget) for steps in all_steps]
    notes = [
        "Epochs are counted over all trials, in the order in which they ended. The clock stops while a search does not "
        "run. A dash means that there was no score yet, or that the search ended before."
    ]
    if any(lanes_of(one) != lanes_of(experiments[0]) for one in experiments):
        notes.append("The experiments ran on different lanes or machines, so wall-clock times also compare those.")
    return Table(
        id="efficiency",
        title="Best validation Dice at equal budgets",
        header=names_of(experiments),
        rows=tuple((label, *map(format_score, dices)) for label, dices in rows.items()),
        notes=tuple(notes),
    )


def _gain(experiment: Experiment) -> str:
    gain = experiment.metrics and experiment.metrics.gain
    return gain.text if gain else DASH


def _budgets(spent: Sequence[float]) -> list[float]:
    return sorted({*(share * min(spent) for share in SHARES), *spent} - {0.0})


def format_p(p: float) -> str:
    """Return a p-value with three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def untested(pairs: Sequence[Pair]) -> dict[str, str]:
    """Return the titles of the pairs that were not tested, by the reason."""
    return _titles([pair for pair in pairs if not pair.difference], lambda pair: (pair.reason,))


def _titles(pairs: Sequence[Pair], texts: Callable[[Pair], Sequence[str]]) -> dict[str, str]:
    """Return the titles of the pairs by each text that is true of them: often one text is true of many pairs."""
    found: dict[str, list[str]] = {}
    for pair in pairs:
        for text in texts(pair):
            found.setdefault(text, []).append(pair.title)
    return {text: ", ".join(titles) for text, titles in found.items()}


def _best_validation(experiment: Experiment) -> str:
    best = best_first(experiment.rows)
    return f"{best[0].best_dice:.4f} ({best[0].id}, epoch {best[0].best_epoch_number})" if best else DASH


def _median_validation(experiment: Experiment) -> str:
    dices = [row.best_dice for row in best_first(experiment.rows)]
    return f"{statistics.median(dices):.4f} ({len(dices)} trials)" if dices else DASH


def _regions(experiments: Sequence[Experiment]) -> list[str]:
    """Return the names of the regions that promoted models segment, where there are several."""
    return list(dict.fromkeys(name for one in experiments if one.metrics for name in one.metrics.test.by_region))


def _test_dice_of(region: str, experiment: Experiment) -> str:
    found = experiment.metrics and experiment.metrics.test.by_region.get(region)
    return format_score(found["dice"].mean) if found else DASH


def _mean_of(scores: ScoreSummary | None) -> str:
    return format_score(scores.dice.mean) if scores else DASH
