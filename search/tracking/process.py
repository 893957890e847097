"""The process in which W&B's client runs.

The client prints, asks the terminal for a key, changes the environment, and may wait for hours for a silent server.
Here it does so in a process of its own, which can be ended at any time: a program (client.py) that reads a message from
each line of its standard input and answers each with a line (messages.py).
"""

import os
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from search.tracking.messages import Answer, Message, Refusal, read_answer, to_line

PROGRAM = "search.tracking.client"

ROOT = Path(__file__).resolve().parent.parent.parent

END_SECONDS = 5.0
"""How long the client may take to end. It is a matter of ms."""


class ClientProcess:
    """A running client of W&B."""

    def __init__(self, folder: Path, *, niceness: int) -> None:
        """Start it.

        Args:
            folder: W&B's own files go to `folder/wandb`, and never to the user's home.
        """
        wandb = folder.resolve() / "wandb"
        settings = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "WANDB_DIR": str(folder.resolve()),
            "WANDB_DATA_DIR": str(wandb / "staged"),  # what a table shows, until it is uploaded
            "WANDB_CACHE_DIR": str(wandb / "cache"),
            "WANDB_SILENT": "true",  # it would say where it has found the key
            "WANDB_ERROR_REPORTING": "false",  # telemetry, which complains if it is not reached
        }
        environment = os.environ | settings
        environment.pop("WANDB_SERVICE", None)  # the service process of another client
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (open for as long as the process runs)
        self._process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM, str(niceness)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the search
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="answers of W&B", daemon=True)
        self._reader.start()

    def ask(self, message: Message, *, seconds: float) -> Answer:
        """Return the answer to a message, if there is no other that is still to be answered.

        Raises:
            TimeoutError: There is none in time.
            RuntimeError: It is an error, or the client has died.
        """
        self.send(message)
        return self.receive(seconds=seconds)

    def send(self, message: Message) -> None:
        """Send a message. If the client has died, `receive` says so."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # it has died, or was ended by another thread
            self._process.stdin.write(to_line(message).encode())
            self._process.stdin.flush()

    def receive(self, *, seconds: float) -> Answer:
        """Return the next answer.

        Raises:
            TimeoutError: There is none in time.
            RuntimeError: It is an error, or the client has died.
        """
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"no answer for {seconds:.3g} seconds") from None
        if not line:
            raise RuntimeError(f"W&B's client ended: {self._last_complaint()}")
        answer = read_answer(line)
        if isinstance(answer, Refusal):
            raise RuntimeError(answer.problem)
        return answer

    def close(self) -> None:
        """End the client, after it has finished its files if it is offline; W&B's service process ends with it."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._complaints.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                self._answers.put(line)
        self._answers.put(b"")

    def _last_complaint(self) -> str:
        with suppress(ValueError):
            self._complaints.seek(0)
            if lines := self._complaints.read().decode(errors="replace").strip().splitlines():
                return lines[-1]
        return "it said nothing"
