"""Keep the full text of trials' errors in files of the experiment, and shorten them to a headline for the screen."""

import re
from pathlib import Path

from data.printable import printable
from search.record.trials import trial_id

FOLDER = "errors"

MAX_HEADLINE = 160
"""The most characters of a headline, about two lines of a terminal."""

TAIL_BYTES = 20_000
"""How much of the end of a process's log is kept with an error."""

_RAISED = re.compile(r"^(?:\w+\.)*([A-Z]\w*(?:\([\w.]+\))?: .*)$", re.MULTILINE)
"""The line of a traceback that names the exception, `package.SomeError: message`."""

_NO_REASON = ("Failure # ", "Traceback ")
"""Beginnings of lines that give no reason, from Tune and from Python."""

_PROCESS = re.compile(r"\bpid[=:]\s*(\d+)")
"""How Ray names a process in an error."""


def error_file(folder: Path, number: int) -> Path:
    """Return the file in which an experiment keeps the errors of a trial."""
    return folder / FOLDER / f"{trial_id(number)}.txt"


def keep_error(folder: Path, number: int, error: str, logs: Path | None) -> None:
    """Append an error to a trial's file, unless the file has it, with the ends of the logs of the processes it names.

    Args:
        logs: The folder of Ray's logs on this machine, which a reboot removes.
    """
    file = error_file(folder, number)
    if file.exists() and error.strip() in file.read_text():
        return
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as target:
        target.write("\n".join([error.strip(), *_ends_of_logs(error, logs)]) + "\n\n")


def headline(error: str) -> str:
    """Return the most informative line of an error or a traceback, cut to MAX_HEADLINE characters."""
    raised = _RAISED.findall(error)
    lines = [line.strip() for line in error.splitlines() if line.strip() and not line.startswith(_NO_REASON)]
    line = printable((raised[-1:] or lines[:1] or [""])[0])
    return line if len(line) <= MAX_HEADLINE else line[: MAX_HEADLINE - 1] + "…"


def _ends_of_logs(error: str, logs: Path | None) -> list[str]:
    if logs is None:
        return []
    files = [file for pid in sorted(set(_PROCESS.findall(error))) for file in sorted(logs.glob(f"worker-*-{pid}.err"))]
    return [f"\n{file}, its end:\n{_tail(file)}" for file in files]


def _tail(file: Path) -> str:
    with file.open("rb") as source:
        source.seek(max(0, file.stat().st_size - TAIL_BYTES))
        return source.read().decode(errors="replace").strip()
