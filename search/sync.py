"""`python -m search.sync NAME`: what was tracked offline, on a W&B server: the sweep, its runs, images and the model.

It can be repeated at any time: what was sent and has not changed is not sent again, and what was sent by half is
completed. A search that runs is left alone: the runs of its paused trials are written anew as those go on.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data.arguments import parse_arguments
from search.console import console, say
from search.experiment import exclusive_writer, recorded_config
from search.record.files import TABLE_FILE
from search.record.trials import read_rows
from search.space import SPACES
from search.storage.download import sync_down
from search.storage.working_folder import Out
from search.tracking.client import place_of
from search.tracking.sweep import recorded_sweeps, sweep_question
from search.tracking.upload import SILENT_SECONDS, OfflineRun, find_runs, unsent, upload


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Send the W&B runs of an experiment that were tracked offline, or that their server did not get, to the server
    that W&B is set to (`wandb login`; WANDB_API_KEY, WANDB_BASE_URL, WANDB_ENTITY)."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The experiment."""

    out: Out = Path("runs")
    """Folder of all experiments, or a bucket: s3://bucket/prefix."""

    project: str | None = None
    """Project of the runs. None: the search's own."""

    jobs: int = 4
    """Runs that are sent at a time."""

    dry_run: bool = False
    """Say what would be sent, and send nothing."""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs is {self.jobs}, but must be at least 1")
        if self.project == "":
            raise ValueError("project is '', but must be a name, or left out")


def main(argv: Sequence[str] | None = None, *, silent_seconds: float = SILENT_SECONDS) -> int:
    """Send; return 0 with all on the server, 1 where something is not, 2 on a mistake in what was asked."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    try:
        arguments = parse_arguments(Arguments, argv, prog="python -m search.sync")
        folder = sync_down(arguments.out / arguments.name, light=True)
        recorded_config(folder)  # the folder is an experiment's: only then there is something to hold
        with exclusive_writer(folder):
            return _sync(folder, arguments, silent_seconds)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what was sent is not sent again, the same command goes on", file=sys.stderr)
        return 130


def _sync(folder: Path, arguments: Arguments, silent_seconds: float) -> int:
    config = recorded_config(folder)
    project = arguments.project or config.project
    runs = find_runs(folder, read_rows(folder / TABLE_FILE), config.max_epochs)
    if not runs:
        raise ValueError(f"{folder} has no W&B runs: it was searched with --tracking off, or nothing was trained")
    place = place_of(project)
    left = unsent(folder, runs, place)
    if arguments.dry_run:
        names = ", ".join(run.id for run in left) or "nothing"
        say(f"{len(left)} of {len(runs)} runs would be sent to {place.split()[0]}, project {project}: {names}")
        return 0
    if not left:
        return _summary(folder, runs, left, {}, place)
    question = sweep_question(folder, SPACES[config.space], name=config.name, project=project, searcher=config.searcher)
    problems = dict.fromkeys((run.id for run in left), "")
    try:
        _send(folder, left, question, problems, arguments.jobs, silent_seconds)
    except (TimeoutError, RuntimeError) as error:
        print(f"error: W&B at {place.split()[0]}: {error}", file=sys.stderr)
    return _summary(folder, runs, left, problems, place)


def _send(
    folder: Path,
    runs: list[OfflineRun],
    question: dict,
    problems: dict[str, str],
    jobs: int,
    silent_seconds: float,
) -> None:
    """Send the runs behind a bar, and take those off the problems that are sent."""
    columns = (
        TextColumn("Sending"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(runs), doing="")
        for outcome in upload(folder, runs, question, jobs=jobs, silent_seconds=silent_seconds):
            if outcome.run is None:
                bar.update(task, doing=outcome.doing[:60])
                continue
            bar.advance(task)
            if outcome.problem is None:
                del problems[outcome.run]
            else:
                problems[outcome.run] = outcome.problem


def _summary(
    folder: Path,
    runs: list[OfflineRun],
    left: list[OfflineRun],
    problems: dict[str, str],
    place: str,
) -> int:
    """Print what was sent and what was not; return the exit status."""
    for problem in dict.fromkeys(problems.values()):
        names = ", ".join(run for run in problems if problems[run] == problem)
        print(": ".join(filter(None, ["not sent", names, problem])), file=sys.stderr)
    counts = {
        "sent": len(left) - len(problems),
        "sent before": len(runs) - len(left),
        "not sent": len(problems),
    }
    parts = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    say(f"{len(runs)} runs of {folder.name}: {parts}")
    for sweep in recorded_sweeps(folder):
        if sweep.place == place:
            say(f"Sweep  {sweep.url}")
            say(f"Group  {sweep.group_url}")
    if problems:
        say("What is missing is sent by the same command")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
