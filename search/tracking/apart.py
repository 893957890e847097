"""W&B's client in a process of its own.

The client prints, asks the terminal for a key, changes the environment, and may wait for hours for a server that is
silent. What must end in time, and leave the screen and this process as they are, is done apart: a module is run as a
program that reads its question from standard input and writes its answers, a JSON object a line.
"""

import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

Answer = dict[str, Any]

END = {"end": True}

ROOT = Path(__file__).resolve().parent.parent.parent


def ask(module: str, question: dict[str, Any], *, silent_seconds: float, folder: Path) -> Iterator[Answer]:
    """Yield the answers of a module that is run as a program; that ends with the last, or when nobody listens.

    Args:
        silent_seconds: How long to wait for an answer.
        folder: Where W&B's client keeps what it needs to keep: `folder/wandb`.

    Raises:
        TimeoutError: There was no answer for so long.
        RuntimeError: The program ended with an error, and this is the last that it said.
    """
    search_path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_DIR": str(folder.resolve())}
    surroundings = os.environ | settings | {"PYTHONPATH": search_path}
    surroundings.pop("WANDB_SERVICE", None)  # a client of this process has its service process there
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=surroundings,
            start_new_session=True,  # Ctrl-C is for us
        )
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()  # and left open: its end tells the program that this process is gone
            yield from _listen(process, silent_seconds)
        except (_Ended, BrokenPipeError):
            complaints.seek(0)
            *_, last = ["it ended without a word", *complaints.read().decode(errors="replace").strip().splitlines()]
            raise RuntimeError(f"{module}: {last}") from None
        finally:
            process.kill()  # W&B's service process ends when its parent is gone
            process.wait()
            process.stdout.close()
            with suppress(BrokenPipeError):
                process.stdin.close()


def _listen(process: subprocess.Popen, silent_seconds: float) -> Iterator[Answer]:
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while line := process.stdout.readline():
            lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, name=f"answers of process {process.pid}", daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=silent_seconds)
        except queue.Empty:
            raise TimeoutError(f"no answer for {silent_seconds:g} seconds") from None
        if not line:
            raise _Ended
        said = json.loads(line)
        if said == END:
            return
        if "error" in said:
            raise RuntimeError(said["error"])
        yield said


def answer(work: Callable[[dict[str, Any]], Iterator[Answer]]) -> int:
    """Answer the question on standard input, as the program that `ask` runs; return its exit status.

    Standard output is the answers' alone: what W&B prints goes to standard error.
    """
    question = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_one_who_asked, daemon=True).start()
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        last = END
        try:
            for said in work(question):
                answers.write(json.dumps(said) + "\n")
        except Exception as error:  # W&B's own, its transport's, its service process's: a line for a person
            last = {"error": in_a_line(error)}
        answers.write(json.dumps(last) + "\n")
    return int(last != END)


def _end_with_the_one_who_asked() -> None:
    """Wait for the end of standard input: where the other was killed, its next sync must not meet this one."""
    os.read(0, 1)
    os._exit(1)


def in_a_line(problem: BaseException | str) -> str:
    """Return what an error says, without the requests that W&B's client repeats in it."""
    said = " ".join(str(problem).split()) or f"W&B's client ended: {problem!r}"
    said = re.sub(r"POST \S+ giving up after \d+ attempt\(s\):? (?:while retrying: )?", "", said)
    return re.sub(r'Post "\S+": ', "", said).partition(" while retrying: ")[0]


class _Ended(Exception):
    """The program ended before its last answer."""
