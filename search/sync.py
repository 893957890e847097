"""`python -m search.sync NAME`: send the runs of an experiment to a W&B server, with the sweep, images and the model.

They are made from the record of the search. The command can be repeated at any time: what was sent and has not changed
is not sent again, and what was sent in part is completed. An experiment that somebody searches now is refused.
"""

import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data.arguments import parse_arguments
from data.command import run_command
from data.errors import UserError
from search.config import SearchConfig
from search.console import console, say
from search.experiment import exclusive_writer, recorded_config
from search.storage.download import sync_down
from search.storage.working_folder import Out
from search.tracking.connection import Connection, Patience
from search.tracking.runs import TrackedRun, Tracking, recorded_runs, tracking_of
from search.tracking.sweep import recorded_sweeps

SILENT_SECONDS = 60.0
"""How long no run may arrive before a sync gives up."""

SCRATCH_FOLDER = "wandb/sync"
"""W&B's own files while runs are sent."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Send the runs of an experiment that was tracked offline, or that its W&B server did not get, to the server that
    W&B is set to (`wandb login`; WANDB_API_KEY, WANDB_BASE_URL, WANDB_ENTITY)."""

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
            raise UserError(f"jobs is {self.jobs}, but must be at least 1")
        if self.project == "":
            raise UserError("project is '', but must be a name, or left out")


def main(argv: Sequence[str] | None = None, *, silent_seconds: float = SILENT_SECONDS) -> int:
    """Run the command; return 0 if the server has everything, 1 if something is missing, 2 after a user's mistake."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    interrupted = "what was sent is not sent again, and the same command sends the rest"
    return run_command(lambda arguments: _main(arguments, silent_seconds), argv, interrupted=interrupted)


def _main(argv: Sequence[str], silent_seconds: float) -> int:
    arguments = parse_arguments(Arguments, argv, prog="python -m search.sync")
    folder = sync_down(arguments.out / arguments.name, light=True)
    recorded_config(folder)  # before the folder is held: it must be an experiment's
    with exclusive_writer(folder):
        config = recorded_config(folder)
        tracking = replace(tracking_of(config), mode="online", project=arguments.project or config.project)
        runs = recorded_runs(tracking)
        if not runs or (config.tracking in ("off", "tensorboard") and not (folder / "wandb").exists()):
            raise UserError(f"{folder} has no W&B runs: it was searched with --tracking off, or nothing was trained")
        # No other limit: the client may take as long as it likes while runs arrive.
        patience = Patience(
            answer_seconds=silent_seconds,
            sweep_seconds=silent_seconds,
            arrival_seconds=silent_seconds / 6,
            finish_seconds=3600.0,
        )
        try:
            connection = Connection(tracking, patience=patience, scratch=folder / SCRATCH_FOLDER, gives_up=True)
        except (TimeoutError, RuntimeError) as error:
            raise UserError(f"W&B cannot be used here: {error}") from error
        try:
            return _sync(connection, runs, tracking, config, arguments)
        finally:
            connection.close()


def _sync(
    connection: Connection, runs: list[TrackedRun], tracking: Tracking, config: SearchConfig, arguments: Arguments
) -> int:
    left, server = connection.unsent(runs), connection.place.split()[0]
    if arguments.dry_run:
        names = ", ".join(run.id for run in left) or "nothing"
        say(f"{len(left)} of {len(runs)} runs would be sent to {server}, project {tracking.project}: {names}")
        return 0
    problems = dict.fromkeys((run.id for run in left), "")
    try:
        if left:
            connection.open_sweep(config.search_space, searcher=config.searcher)
            _send(connection, left, problems, arguments.jobs)
    except (TimeoutError, RuntimeError) as error:
        print(f"error: W&B at {server}: {error}", file=sys.stderr)
    if not problems:
        shutil.rmtree(tracking.folder / SCRATCH_FOLDER, ignore_errors=True)
    return _summarise(tracking, runs, left, problems, connection.place)


def _send(connection: Connection, runs: list[TrackedRun], problems: dict[str, str], jobs: int) -> None:
    """Send the runs behind a progress bar, and take those that were sent off the problems."""
    columns = (TextColumn("Sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(runs))
        for outcome in connection.send(runs, jobs=jobs):
            bar.advance(task)
            if outcome.problem is None:
                del problems[outcome.run.id]
            else:
                problems[outcome.run.id] = outcome.problem


def _summarise(
    tracking: Tracking, runs: list[TrackedRun], left: list[TrackedRun], problems: dict[str, str], place: str
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
    say(f"{len(runs)} runs of {tracking.folder.name}: {parts}")
    for sweep in recorded_sweeps(tracking.folder):
        if sweep.place == place:
            say(f"Sweep  {sweep.url}")
            say(f"Group  {sweep.group_url}")
    if problems:
        say("The same command sends what is missing")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
