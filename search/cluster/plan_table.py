"""The plan of a search, printed as a table before anything is trained."""

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from search.cluster.capacity.lane_plan import LanePlan, describe_resources, workers_per_gpu
from search.cohort import Cohort
from search.config import SearchConfig
from search.formatting import format_duration
from search.record.objectives import OBJECTIVES
from search.space.space import describe
from search.storage.working_folder import display_folder

WRITTEN = ("config.json", "trials.jsonl", "events.jsonl", "ray/", "report.html", "best/")
TRACKING = {
    "offline": "Weights & Biases, offline",
    "online": "Weights & Biases, online, with a few validation slices of each patient",
    "tensorboard": "TensorBoard",
}


def print_plan(
    config: SearchConfig,
    cohort: Cohort,
    lanes: LanePlan,
    console: Console,
    *,
    others: str = "",
    logs: Path | None = None,
    memory: str = "",
) -> None:
    """Print the patients and slices of each side, the space, the budget, the lanes, and the files to be written.

    Args:
        others: What other jobs hold of the cluster, as text; "" if nothing.
        logs: The folder of Ray's log files on this machine.
        memory: How much memory the networks take, as text; "" if that was not measured.
    """
    table = Table(
        Column(),
        Column(overflow="fold"),  # or rich cuts off a path that is longer than the line
        title=f"Search {config.name}",
        show_header=False,
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for key, value in _lines(config, cohort, lanes):
        table.add_row(key, value)
    if memory:
        table.add_row("networks take", memory)
    if others:
        table.add_row("shared", f"{others}: trials take what is free, and what gets free, up to --max-concurrent")
    if logs:
        table.add_row("Ray's logs", str(logs))
    console.print(table)


def _lines(config: SearchConfig, cohort: Cohort, lanes: LanePlan) -> list[tuple[str, str]]:
    sides = ("train", "val", "test")
    size = config.preprocessing.size
    lines = [("data", f"{config.data} ({cohort.format}), slices of {size} x {size} pixels")]
    for side in sides:
        patients, slices = len(getattr(cohort.split, side)), cohort.num_slices[side]
        persons = f" of {num} persons" if 0 < (num := cohort.num_persons[side]) < patients else ""
        lines.append(
            (side, f"{patients} patients{persons}, {slices} slices, {cohort.num_tumour_slices[side]} with tumour")
        )
    lines += [(name, axis) for name, axis in describe(config.search_space).items()]
    resources = describe_resources(lanes.worker_resources())
    if cohort.skipped:
        lines.insert(1, ("left out", f"{len(cohort.skipped)} file(s) that cannot be used; see config.json"))
    objectives = ", ".join(OBJECTIVES[name].label for name in config.objective)
    return [
        *lines,
        ("in memory", _memory(cohort, lanes)),
        ("searched for", objectives),
        *_budget(config),
        *_trials(config),
        ("at a time", f"{lanes.num_lanes}, each with {lanes.num_workers} worker(s) of {resources}{_sharing(lanes)}"),
        ("tracking", TRACKING.get(config.tracking, config.tracking)),
        (
            "written to",
            f"{display_folder(config.folder)}/: {', '.join(WRITTEN)}",
        ),
    ]


def _trials(config: SearchConfig) -> list[tuple[str, str]]:
    """Return the lines about the number of trials, and about the first."""
    if config.budget and config.trials == 1 and config.begin_with_default and "trials" not in config.given:
        return [
            (
                "trials",
                f"the default configuration alone, {config.max_epochs} epochs: with so few trainings, or validation "
                "patients, a search would show no gain (--trials N searches all the same)",
            )
        ]
    trials = f"{config.trials} by {config.searcher}, of at most {config.max_epochs} epochs"
    if config.scheduler != "none":
        trials += f", {config.scheduler} from epoch {config.scheduler_request().grace_period}"
    if config.time_budget_seconds and not config.budget:
        trials += f", {config.time_budget_seconds:g} seconds in all"
    first = [("first", "the default configuration, trained to its end")] if config.begin_with_default else []
    return [("trials", trials), *first]


def _budget(config: SearchConfig) -> list[tuple[str, str]]:
    """Return the line about the budget; none if there is no budget."""
    if config.budget is None:
        return []
    seeds = config.promotion.final_seeds
    rest = f"{seeds} final seed(s), scoring and export" if seeds else "scoring and export"
    if config.epoch_seconds is None or config.time_budget_seconds is None:
        return [("budget", f"{config.budget}, with {rest}")]
    until = format_duration(config.time_budget_seconds)
    return [
        (
            "budget",
            f"{config.budget}, at {config.epoch_seconds:.2g} s for an epoch: trials until {until} after the start at "
            f"the latest, then {rest}",
        )
    ]


def _sharing(lanes: LanePlan) -> str:
    num_workers = workers_per_gpu(lanes)
    return f"; {num_workers} {'trials' if lanes.num_workers == 1 else 'workers'} share a GPU" if num_workers > 1 else ""


def _memory(cohort: Cohort, lanes: LanePlan) -> str:
    room = lanes.object_store_bytes
    num_bytes = cohort.train_pack.num_bytes + cohort.val_pack.num_bytes
    slices = f"{num_bytes / 1e9:.2g} GB of slices, once a machine for all its trials"
    if room is None or num_bytes <= room:
        return slices
    return (
        f"WARNING: {slices}, but Ray's object store has {room / 1e9:.2g} GB: what does not fit is "
        "read from the disk again and again, which is slower; a smaller --size takes less"
    )
