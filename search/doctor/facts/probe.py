"""Ask a function in a process of its own, so that a package that is broken, hangs or crashes takes nobody with it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from data.printable import printable

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what packages print is no answer
from importlib import import_module
try:
    module, function, arguments = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    answer = {"value": getattr(import_module(module), function)(*arguments)}
except BaseException as error:
    answer = {"kind": type(error).__name__, "text": str(error), "missing": getattr(error, "name", None)}
answers.write(json.dumps(answer))
answers.close()
os._exit(0)  # packages have crashed while they were unloaded
"""

MAX_TEXT = 500
"""The most characters of an error that are shown."""


class NoAnswer(Exception):
    """A function did not answer; the message says why, in a line."""

    def __init__(self, text: str, *, missing: str = "") -> None:
        super().__init__(text)
        self.missing = missing
        """The package that is not installed, where that is the cause."""


def ask(module: str, function: str, *arguments: Any, seconds: float) -> Any:
    """Return what a function returns in a process of its own; its arguments and its answer must be JSON.

    Raises:
        NoAnswer: A package is missing or broken, the function raises, crashes, or takes too long.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, module, function, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=with_program(os.environ),
        start_new_session=True,  # so that it ends with all that it has started
    ) as process:
        try:
            answer, complaints = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"no answer within {seconds:.0f} s") from None
        finally:
            end(process)
    return _read(answer, complaints, process.returncode)


def with_program(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a process that is to import this program, wherever it runs."""
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))}


def end(process: subprocess.Popen) -> None:
    """End a process that leads a session, and all processes of that session."""
    with suppress(ProcessLookupError, PermissionError):  # all have ended (macOS says the latter)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def in_a_line(text: str) -> str:
    """Return the text in one line that is fit to print, cut where it is too long."""
    line = " ".join(printable(text).split())
    return line if len(line) <= MAX_TEXT else f"{line[:MAX_TEXT]}..."


def _read(answer: bytes, complaints: bytes, status: int) -> Any:
    if not answer:
        last = complaints.decode(errors="replace").strip().splitlines()[-1:]
        cause = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        raise NoAnswer(in_a_line(": ".join(["it crashed", cause, *last])))
    found = json.loads(answer)
    if "value" in found:
        return found["value"]
    if found["kind"] == "UserError":
        raise NoAnswer(in_a_line(found["text"]))
    missing = (found["missing"] or "").partition(".")[0] if found["kind"] == "ModuleNotFoundError" else ""
    text = f"{missing} is not installed" if missing else f"{found['kind']}: {found['text']}"
    raise NoAnswer(in_a_line(text), missing=missing)
