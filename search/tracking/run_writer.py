"""Runs, written by W&B's client: to a server, or to files.

Only the documented interface of W&B is used, with one exception: the `x_` settings, which say how long a request is
repeated and that the machine is not measured. There are no public ones for that.
"""

import math
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.tracking.media import model_artifact, slices_table
from search.tracking.messages import RunUpdate, Setup, Sweep, SweepRequest, in_a_line
from search.tracking.server import REQUEST_SECONDS, Server

SLICES = "validation_slices"
"""The table's name on W&B's pages."""

MOST_OPEN = 32
"""The most runs that are open at the same time. Each costs two threads, and hundreds of trials may be paused."""

POLL_SECONDS = 0.1


@dataclass(kw_only=True)
class OpenRun:
    """A run that is being written."""

    run: Any
    """`wandb.Run`."""

    logged: set[float] = field(default_factory=set)
    """Epochs that it has."""


class RunWriter:
    """Brings runs up to date. Several threads may call it at the same time, for different runs."""

    def __init__(self, setup: Setup) -> None:
        import wandb

        self._setup = setup
        self._open: dict[str, OpenRun] = {}
        self._closing: set[str] = set()
        settings = wandb.setup(settings=wandb.Settings(silent=True, **_limits(setup))).settings
        self._server = Server(settings, setup.project) if setup.mode == "online" else None

    @property
    def place(self) -> str:
        """Where the runs go."""
        return self._server.place if self._server else "offline"

    def open_sweep(self, request: SweepRequest) -> Sweep:
        """Return the sweep that all runs are attached to from now on."""
        assert self._server is not None
        return self._server.open_sweep(request)

    def bring(self, wanted: RunUpdate) -> str | None:
        """Bring a run up to date; return why W&B does not have it, or not all of it."""
        opened = self._open.pop(wanted.id, None) or self._open_run(wanted)
        self._open[wanted.id] = opened  # last, so that the first is the one that has been idle longest
        self._close_idle()
        for metrics in wanted.epochs:
            if metrics["epoch"] not in opened.logged:
                opened.run.log(metrics | _table(wanted.slices.get(str(int(metrics["epoch"])))))
                opened.logged.add(metrics["epoch"])
        opened.run.summary.update(wanted.summary)
        return None if wanted.exit_code is None else self._close(opened.run, wanted)

    def end(self) -> None:
        """Wait for W&B's service process to write the last of offline runs, which it does after they are finished."""
        import wandb

        if self._setup.mode == "offline":
            wandb.teardown()

    def _open_run(self, wanted: RunUpdate) -> OpenRun:
        while wanted.id in self._closing:
            time.sleep(POLL_SECONDS)
        folder = self._folder_of(wanted.id)
        folder.mkdir(parents=True, exist_ok=True)
        if self._server is None:  # a run is written anew as a whole: of two under one id, a server would keep one
            for part in (folder / "wandb").glob(f"offline-run-*-{wanted.id}"):
                shutil.rmtree(part, ignore_errors=True)
        opened = OpenRun(run=self._init(wanted, folder))
        opened.run.define_metric("epoch")
        opened.run.define_metric("*", step_metric="epoch")
        if self._server and opened.run.resumed:  # it has one line for each epoch, so their number says which
            there = self._server.find(wanted.id)
            lines = wanted.epochs[: there.historyLineCount if there else 0]
            opened.logged = {metrics["epoch"] for metrics in lines}
        if self._setup.scratch:
            _send_media_again(opened.run, folder)
        return opened

    def _init(self, wanted: RunUpdate, folder: Path) -> Any:
        import wandb

        setup, sweep = self._setup, self._server.sweep if self._server else None
        return wandb.init(
            mode="online" if self._server else "offline",
            entity=sweep.entity if sweep else None,
            project=sweep.project if sweep else setup.project,
            group=setup.group,
            job_type="trial",
            id=wanted.id,
            resume="allow" if self._server else None,
            name=wanted.name,
            config=wanted.config,
            allow_val_change=True,
            dir=str(folder),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                sweep_id=sweep.id if sweep else None,
                init_timeout=setup.init_seconds,
                finish_timeout=setup.finish_seconds + wanted.model_seconds,
                finish_timeout_raises=True,
                x_disable_stats=True,  # it would measure the driver's machine, not the one that trains
            ),
        )

    def _close(self, run: Any, wanted: RunUpdate) -> str | None:
        """Close a run; return why W&B does not have all of it."""
        problem = self._log_model(run, wanted) if wanted.model else None
        files = Path(run.dir)
        run.finish(exit_code=wanted.exit_code)
        del self._open[wanted.id]
        if self._server and problem is None:
            problem = self._wait_until_there(self._server, wanted, files)
        if self._setup.scratch and problem is None:
            shutil.rmtree(self._folder_of(wanted.id), ignore_errors=True)
        return problem

    def _close_idle(self) -> None:
        """Close the run that has been idle longest if too many are open. It opens again when its trial continues."""
        if len(self._open) <= MOST_OPEN:
            return
        name = next(iter(self._open))
        self._closing.add(name)
        try:
            self._open.pop(name).run.finish(exit_code=0)
        finally:
            self._closing.discard(name)

    def _log_model(self, run: Any, wanted: RunUpdate) -> str | None:
        """Log the promoted model as an artifact; return why that failed. The rest of the run is still worth sending."""
        name = f"{self._setup.group}-model"
        try:
            logged = run.log_artifact(model_artifact(Path(str(wanted.model)), name), aliases=["best", "latest"])
            if self._server:
                logged.wait(timeout=math.ceil(wanted.model_seconds + self._setup.finish_seconds))
        except Exception as error:  # the user's files, W&B's own errors, its transport's
            return f"its artifact {name} is left out: {in_a_line(error)}"
        return None

    def _wait_until_there(self, server: Server, wanted: RunUpdate, files: Path) -> str | None:
        """Return what the server does not have: W&B calls a run finished even if lines or files were lost."""
        media = [file.relative_to(files).as_posix() for file in files.glob("media/*/*") if file.is_file()]
        end = time.monotonic() + self._setup.arrival_seconds
        while True:
            missing = server.missing(wanted.id, num_lines=len(wanted.epochs), media=media)
            if missing is None or time.monotonic() > end:
                return missing
            time.sleep(POLL_SECONDS)

    def _folder_of(self, name: str) -> Path:
        """Return the folder in which W&B makes its own for a run."""
        return Path(self._setup.scratch, name) if self._setup.scratch else Path(self._setup.folder)


def _limits(setup: Setup) -> dict[str, Any]:
    """Return settings that limit requests; with its defaults, the client repeats them for days."""
    limits: dict[str, Any] = {}
    if setup.mode == "online":
        limits |= {"x_graphql_retry_max": 1, "x_graphql_retry_wait_max_seconds": 1.0}
        limits |= {"x_graphql_timeout_seconds": REQUEST_SECONDS}
    if setup.gives_up:
        for part in ("file_stream", "file_transfer"):
            limits |= {f"x_{part}_retry_max": 1, f"x_{part}_retry_wait_max_seconds": 1.0}
        limits |= {"x_file_stream_timeout_seconds": REQUEST_SECONDS}
    return limits


def _table(file: str | None) -> dict[str, object]:
    """Return the table of an epoch's slices by its name."""
    try:
        return {} if file is None else {SLICES: slices_table(Path(file))}
    except Exception as error:  # W&B does not take the picture, which is no reason to lose the metrics
        print(f"validation slices are not shown: {error!r}", file=sys.stderr)
        return {}


def _send_media_again(run: Any, folder: Path) -> None:
    """Send the tables of a sync that failed again: the server may have the lines that show them."""
    for files in folder.glob("wandb/run-*/files"):
        if files != Path(run.dir):
            for file in files.glob("media/*/*"):
                run.save(str(file), base_path=str(files), policy="now")
