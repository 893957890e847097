"""W&B's client as a program that reads messages and answers them; process.py starts it."""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO

from search.tracking.messages import RunUpdate, Setup, SweepRequest, in_a_line
from search.tracking.run_writer import RunWriter

MOST_JOBS = 16
"""Messages that are worked on at a time; others wait for their turn."""


class Client:
    """Answers messages."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._writing = threading.Lock()
        self.writer: RunWriter | None = None

    def handle(self, message: dict[str, Any]) -> None:
        """Answer a message, whatever happens."""
        try:
            answer = self._answer(message)
        # W&B's own errors, its transport's, a full disk; and SystemExit if its service process dies.
        except BaseException as error:
            problem = in_a_line(error)
            answer = {"run": message["run"]["id"], "problem": problem} if "run" in message else {"error": problem}
        with self._writing:
            self._answers.write(json.dumps(answer) + "\n")

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if "setup" in message:
            self.writer = RunWriter(Setup(**message["setup"]))
            return {"place": self.writer.place}
        assert self.writer is not None
        if "sweep" in message:
            return {"sweep": self.writer.open_sweep(SweepRequest(**message["sweep"]))}
        wanted = RunUpdate(**message["run"])
        return {"run": wanted.id, "problem": self.writer.bring(wanted)}


def main() -> None:
    """Answer messages, at the niceness that is given, until standard input ends: then the other process is gone."""
    os.nice(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what W&B prints is no answer
    client = Client(answers)
    pool = ThreadPoolExecutor(MOST_JOBS)
    for line in sys.stdin.buffer:
        pool.submit(client.handle, json.loads(line))
    if client.writer is not None:
        client.writer.end()
    os._exit(0)  # whatever W&B still waits for


if __name__ == "__main__":
    main()
