"""What W&B's server is asked for: a sweep, and which part of a run it has."""

import os
import threading
from typing import Any
from urllib.parse import quote

from search.tracking.messages import Sweep, SweepRequest

REQUEST_SECONDS = 10.0
"""How long a request may take."""


class Server:
    """A W&B server, seen through W&B's public API."""

    def __init__(self, settings: Any, project: str) -> None:
        """Begin without a request.

        Args:
            settings: W&B's own, from its environment and its settings' files.
        """
        self._settings = settings
        self._project = project
        self._asking = threading.Lock()
        self._api: Any = None
        self.sweep: Sweep | None = None
        """The sweep that runs are attached to."""

    @property
    def place(self) -> str:
        """The server, entity and project that runs go to."""
        return f"{self._settings.base_url} {self._settings.entity or '-'} {self._project}"

    def open_sweep(self, request: SweepRequest) -> Sweep:
        """Return the sweep of an experiment at this place: the known one, or a new one.

        Raises:
            RuntimeError: There is no key. (W&B raises its own errors if a server does not answer, or refuses.)
        """
        import wandb

        if not wandb.login(prompt=False, verify=True):
            raise RuntimeError("there is no API key: log in by `wandb login`, or set WANDB_API_KEY")
        self._api = wandb.Api(timeout=round(REQUEST_SECONDS))
        self.sweep = request.known or self._make_sweep(request)
        return self.sweep

    def find(self, name: str) -> Any:
        """Return the run of an id as the API shows it; None if the server does not have it."""
        assert self.sweep is not None
        with self._asking:
            self._api.flush()  # it remembers answers
            path = f"{self.sweep.entity}/{self.sweep.project}"
            return next(iter(self._api.runs(path, filters={"name": {"$in": [name]}}, per_page=1000)), None)

    def missing(self, name: str, *, num_lines: int, media: list[str]) -> str | None:
        """Return what the server does not have of a run, in a sentence.

        Args:
            num_lines: Lines of history that it should have.
            media: Files that it should have.
        """
        run = self.find(name)
        if run is None:
            return "W&B does not have it"
        if run.historyLineCount < num_lines:
            return f"W&B has {run.historyLineCount} of its {num_lines} lines of history"
        with self._asking:
            there = {file.name for file in run.files(media, per_page=1000) if file.size} if media else set()
        absent = sorted(set(media) - there)
        return f"W&B does not have {', '.join(absent[:2])}{' and others' * (len(absent) > 2)}" if absent else None

    def _make_sweep(self, request: SweepRequest) -> Sweep:
        import wandb

        sweep_id = wandb.sweep(request.config, project=self._project)
        # `wandb.sweep` leaves here what the server calls them.
        entity, project = os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"]
        page = f"{self._settings.app_url}/{quote(entity)}/{quote(project)}"
        return Sweep(
            place=self.place,
            entity=entity,
            project=project,
            id=sweep_id,
            url=f"{page}/sweeps/{quote(sweep_id)}",
            group_url=f"{page}/groups/{quote(request.name)}",
        )


def find_account() -> str:
    """Return the account whose key W&B's server takes.

    Raises:
        RuntimeError: There is no key. (W&B raises its own errors if the server does not answer, or refuses it.)
    """
    import wandb

    if not wandb.login(prompt=False, verify=True):
        raise RuntimeError("there is no API key")
    return str(wandb.Api(timeout=round(REQUEST_SECONDS)).default_entity or "an account without a name")
