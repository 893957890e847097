"""W&B's client as a program that reads messages and answers them; process.py starts it."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TextIO

from search.tracking.messages import (
    Answer,
    Message,
    Ready,
    Refusal,
    RunAnswer,
    RunUpdate,
    Setup,
    SweepRequest,
    in_a_line,
    read_message,
    to_line,
)
from search.tracking.run_writer import RunWriter

MOST_JOBS = 16
"""Messages that are worked on at a time; others wait for their turn."""


class Client:
    """Answers messages."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._writing = threading.Lock()
        self.writer: RunWriter | None = None

    def handle(self, message: Message) -> None:
        """Answer a message, whatever happens."""
        try:
            answer = self._answer(message)
        # W&B's own errors, its transport's, a full disk; and SystemExit if its service process dies.
        except BaseException as error:
            problem = in_a_line(error)
            is_run = isinstance(message, RunUpdate)
            answer = RunAnswer(id=message.id, problem=problem) if is_run else Refusal(problem=problem)
        with self._writing:
            self._answers.write(to_line(answer))

    def _answer(self, message: Message) -> Answer:
        if isinstance(message, Setup):
            self.writer = RunWriter(message)
            return Ready(place=self.writer.place)
        assert self.writer is not None
        if isinstance(message, SweepRequest):
            return self.writer.open_sweep(message)
        return RunAnswer(id=message.id, problem=self.writer.bring(message))


def main() -> None:
    """Answer messages, at the niceness that is given, until standard input ends: then the other process is gone."""
    os.nice(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what W&B prints is no answer
    client = Client(answers)
    pool = ThreadPoolExecutor(MOST_JOBS)
    for line in sys.stdin.buffer:
        pool.submit(client.handle, read_message(line))
    if client.writer is not None:
        client.writer.end()
    os._exit(0)  # whatever W&B still waits for


if __name__ == "__main__":
    main()
