"""The line of the report that says what the budget of a search was, and how it was kept."""

from search.formatting import format_duration
from search.planning.budget import parse_budget
from search.report.snapshot import Snapshot


def budget_line(snapshot: Snapshot) -> str | None:
    """Return the plan of a search and what was done, in two sentences; None for a search without a budget."""
    config, spent = snapshot.config, snapshot.experiment.spent
    if config.budget is None:
        return None
    trials = _count(config.trials, "trial")
    planned = f"Planned: {trials} of at most {_count(config.max_epochs, 'epoch')}"
    planned += f" and {_count(config.promotion.final_seeds, 'final seed')}"
    if config.epoch_seconds:
        planned += f", at {config.epoch_seconds:.2g} s for an epoch"
    num_epochs = sum(len(row.epochs) for row in snapshot.rows)
    done = f"{_count(len(snapshot.rows), 'trial')} with {_count(num_epochs, 'epoch')}"
    if spent is None:
        return f"{planned}. So far: {done}."
    done += f" and {_count(spent.final_seeds, 'final seed')}, in {format_duration(spent.seconds)}"
    if seconds := parse_budget(config.budget).seconds:
        done += f" ({spent.seconds / seconds:.0%} of the budget)"
    return f"{planned}. Done: {done}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
