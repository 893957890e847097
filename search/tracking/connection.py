"""A connection to W&B, to its server or to files in the experiment's folder, and what was sent through it.

What was sent is remembered in the experiment's folder, and the client asks the server what it has. So a
connection that is cut off at any moment is completed by the next one, and nothing is sent twice.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.record.jsonl import append_line, read_lines
from search.space.space import Space
from search.tracking.messages import Ready, RunAnswer, Setup, Sweep, SweepRequest
from search.tracking.process import ClientProcess
from search.tracking.runs import TrackedRun, Tracking
from search.tracking.sweep import record_sweep, recorded_sweeps, sweep_config

SENT_FILE = "sent.jsonl"

START_SECONDS = 30.0
"""How long the client may take to start: it imports W&B, which takes a second on an idle machine."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long W&B may take."""

    init_seconds: float = 10.0
    """For a server to open a run; W&B's own 90 s are too many."""

    finish_seconds: float = 8.0
    """For the last of a run to reach a server."""

    arrival_seconds: float = 10.0
    """For a server to show what it was sent."""

    answer_seconds: float = 30.0
    """For the client to bring a run up to date. It takes longer only if it hangs."""

    sweep_seconds: float = 20.0
    """For a server to make the sweep. A search waits for it before it begins."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run."""

    run: TrackedRun
    problem: str | None
    """Why W&B does not have it, or not all of it."""


class Connection:
    """A client of W&B that takes runs."""

    def __init__(
        self,
        tracking: Tracking,
        *,
        patience: Patience,
        scratch: Path | None = None,
        gives_up: bool = False,
        niceness: int = 0,
    ) -> None:
        """Start the client; no server is asked yet.

        Args:
            tracking: With `mode` 'online' or 'offline'.
            scratch: See Setup in messages.py; so is `gives_up`.
            niceness: Of the client's process.

        Raises:
            TimeoutError: The client does not start in time.
            RuntimeError: W&B cannot be used.
        """
        self._tracking, self._patience = tracking, patience
        self._process = ClientProcess(scratch or tracking.folder, niceness=niceness)
        setup = Setup(
            mode=tracking.mode,
            folder=str(tracking.folder),
            project=tracking.project,
            group=tracking.group,
            scratch=str(scratch) if scratch else None,
            gives_up=gives_up,
            init_seconds=patience.init_seconds,
            finish_seconds=patience.finish_seconds,
            arrival_seconds=patience.arrival_seconds,
        )
        try:
            answer = self._process.ask(setup, seconds=START_SECONDS)
        except (TimeoutError, RuntimeError):
            self.close()
            raise
        assert isinstance(answer, Ready)
        self.place = answer.place

    def open_sweep(self, space: Space, *, searcher: str) -> Sweep:
        """Return the experiment's sweep, which all runs are attached to; it is made if there is none yet.

        Raises:
            TimeoutError: The server does not answer in time.
            RuntimeError: It refuses; the key is wrong; or it cannot be reached.
        """
        folder, name = self._tracking.folder, self._tracking.group
        config = sweep_config(space, name=name, searcher=searcher)
        known = next((sweep for sweep in recorded_sweeps(folder) if sweep.place == self.place), None)
        request = SweepRequest(name=name, config=config, known=known)
        sweep = self._process.ask(request, seconds=self._patience.sweep_seconds)
        assert isinstance(sweep, Sweep)
        record_sweep(folder, sweep)
        return sweep

    def unsent(self, runs: Iterable[TrackedRun]) -> list[TrackedRun]:
        """Return the runs that have not been sent to this place yet, or have changed since."""
        lines = read_lines(self._tracking.folder / SENT_FILE)
        sent = {line["run"]: line["digest"] for line in lines if line["place"] == self.place}
        return [run for run in runs if not run.is_over or sent.get(run.id) != run.digest]

    def send(self, runs: Sequence[TrackedRun], *, jobs: int) -> Iterator[Outcome]:
        """Yield the outcome of each run as it is known. A run that was sent whole is recorded at once.

        Args:
            jobs: Runs that are sent at the same time.

        Raises:
            TimeoutError: No run has arrived for so long.
            RuntimeError: The client has died.
        """
        waiting, sending = deque(runs), dict[str, TrackedRun]()
        while waiting or sending:
            while waiting and len(sending) < jobs:
                run = waiting.popleft()
                sending[run.id] = run
                self._process.send(run.update())
            longest = max(run.model_seconds for run in sending.values())
            answer = self._process.receive(seconds=self._patience.answer_seconds + longest)
            assert isinstance(answer, RunAnswer)
            run = sending.pop(answer.id)
            if run.is_over and answer.problem is None:
                line = {"place": self.place, "run": run.id, "digest": run.digest}
                append_line(self._tracking.folder / SENT_FILE, line, durable=True)
            yield Outcome(run=run, problem=answer.problem)

    def close(self) -> None:
        """End the client, even if it hangs."""
        self._process.close()
