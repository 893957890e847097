"""What experiments reached: scores, differences on the test patients, the best so far at equal budgets."""

import statistics
from collections.abc import Callable, Sequence

from search.card import format_interval
from search.compare.differences import lanes_of
from search.compare.experiments import Experiment
from search.compare.significance import LEVEL, Difference, Pair
from search.compare.table import ABSENT, Table, by_experiment, format_number, names_of
from search.efficiency import best_after
from search.standing import format_duration
from search.trials import best_first

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the smallest budget: where the bests so far are set side by side."""


def scores(experiments: Sequence[Experiment]) -> Table:
    """Return how good each is, on validation and on test patients."""
    rows = {
        "best validation Dice": _best_validation,
        "median validation Dice": _median_validation,
        "promoted model, validation Dice": lambda one: _mean_of(one, "validation"),
        "promoted model, test Dice": lambda one: _mean_of(one, "test"),
        "95 % interval": lambda one: format_interval(one.metrics["test"]["dice"]) if one.metrics else ABSENT,
        "median test Dice": lambda one: (
            format_number(one.metrics["test"]["dice"].get("median")) if one.metrics else ABSENT
        ),
        "test patients": lambda one: str(one.metrics["test"]["num_patients"]) if one.metrics else ABSENT,
    }
    notes = ["The median is that of the trials' best epochs; it depends on how early weak ones were stopped."]
    if len({(one.patients("val"), one.run["data"]["fingerprint"]) for one in experiments}) > 1:
        notes.append(
            "The validation patients, or how their slices were prepared, are not the same: validation Dice cannot be "
            "compared across all of these."
        )
    unpromoted = [one.name for one in experiments if one.metrics is None]
    if unpromoted:
        notes.append(f"Nothing was promoted in {', '.join(unpromoted)}, so there are no test scores.")
    return by_experiment("scores", "Scores", experiments, rows, notes)


def significance(pairs: Sequence[Pair]) -> Table:
    """Return whether the test scores differ, pair by pair."""
    tested = [pair for pair in pairs if pair.difference]
    rows: dict[str, Callable[[Difference], str]] = {
        "test patients of both": lambda one: str(one.num_patients),
        "mean difference": lambda one: f"{one.mean.mean:+.4f}",
        "95 % interval": lambda one: f"{one.mean.low:+.4f} to {one.mean.high:+.4f}",
        "better / equal / worse": lambda one: f"{one.num_better} / {one.num_equal} / {one.num_worse}",
        "p, paired bootstrap": lambda one: format_p(one.p_bootstrap),
        "p, Wilcoxon signed ranks": lambda one: format_p(one.p_wilcoxon),
    }
    if len(tested) > 1:
        rows["Holm's p, bootstrap"] = lambda one: format_p(one.holm_bootstrap)
        rows["Holm's p, Wilcoxon"] = lambda one: format_p(one.holm_wilcoxon)
    notes = []
    if tested:
        corrected = f", corrected for {len(tested)} pairs," if len(tested) > 1 else ""
        notes.append(
            f"Of each test patient the two models' Dice are subtracted. A difference is shown where both p{corrected} "
            f"are below {LEVEL}. It is one of these two models, for patients like these; another search, with another "
            "seed, has another winner."
        )
    notes += [f"{_title(pair)}: {pair.reservation}." for pair in tested if pair.reservation]
    notes += [f"{_title(pair)}: no test, because {pair.reason}." for pair in pairs if not pair.difference]
    cells = [(name, *(text(pair.difference) for pair in tested)) for name, text in rows.items()]
    verdicts = ("outcome", *(pair.verdict for pair in tested))
    return Table(
        id="significance",
        title="Differences on the test patients",
        header=tuple(_title(pair) for pair in tested),
        rows=(*cells, verdicts) if tested else (),
        notes=tuple(notes),
    )


def efficiency(experiments: Sequence[Experiment]) -> Table:
    """Return the best so far after equal budgets: shares of what the smallest search spent."""
    steps = [one.steps for one in experiments]
    spent = [found[-1] for found in steps if found]
    rows: dict[str, list[float]] = {}
    if spent:
        epochs, seconds = min(one.epochs for one in spent), min(one.seconds for one in spent)
        for budget in sorted({max(1, round(share * epochs)) for share in SHARES}):
            rows[f"after {budget} epochs"] = [best_after(found, epochs=budget) for found in steps]
        for budget in (share * seconds for share in SHARES if seconds > 0):
            rows[f"after {format_duration(budget)}"] = [best_after(found, seconds=budget) for found in steps]
    notes = [
        "Epochs are those of all trials together, in the order in which they ended; the clock stops with a search."
    ]
    if any(lanes_of(one) != lanes_of(experiments[0]) for one in experiments):
        notes.append("They ran on different lanes or machines: the clock compares those, too.")
    return Table(
        id="efficiency",
        title="Best validation Dice so far, at equal budgets",
        header=names_of(experiments),
        rows=tuple((label, *map(format_number, dices)) for label, dices in rows.items()),
        notes=tuple(notes),
    )


def format_p(p: float) -> str:
    """Return a p-value for people."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _title(pair: Pair) -> str:
    return f"{pair.second} minus {pair.first}"


def _best_validation(experiment: Experiment) -> str:
    best = best_first(experiment.rows)
    return f"{best[0].best_dice:.4f} ({best[0].id}, epoch {best[0].best_epoch['epoch']})" if best else ABSENT


def _median_validation(experiment: Experiment) -> str:
    dices = [row.best_dice for row in best_first(experiment.rows)]
    return f"{statistics.median(dices):.4f} ({len(dices)} trials)" if dices else ABSENT


def _mean_of(experiment: Experiment, side: str) -> str:
    return format_number(experiment.metrics.get(side, {}).get("dice", {}).get("mean")) if experiment.metrics else ABSENT
