"""Load folders of models in a process of its own, which may crash, hang or take memory without harm to the tests.

`python -m tests.support.model_fuzz` is that process: it reads a folder a line, and prints an outcome a line.
"""

import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError
from model.inference.runtime import choose_runtime
from tests.support.model_ways import WAYS

ROOT = Path(__file__).parents[2]
MAX_SECONDS = 20.0
MAX_ADDRESS_BYTES = 8 << 30
"""Address space; torch and ONNX Runtime reserve some gigabytes that they never use."""

MAX_GROWTH_MB = 1024.0
"""How much more memory than before a file may take while it is loaded."""


@dataclass(kw_only=True)
class Loader:
    """A process that loads folders; it is started again after a crash or a hang."""

    runtime: str
    cwd: Path
    process: subprocess.Popen[str] | None = None

    def load(self, what: str, folder: Path) -> str:
        """Return "works" and what came of it, or the error after its class, or how the process ended."""
        process = self.process = self.process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([what, str(folder)]) + "\n")
        process.stdin.flush()
        if select.select([process.stdout], [], [], MAX_SECONDS)[0] and (line := process.stdout.readline()):
            return json.loads(line)
        process.kill()
        status = process.wait()
        self.process = None
        return "hangs" if status == -9 else f"ends the process with status {status}"

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.model_fuzz", self.runtime],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self.cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        assert process.stdout.readline(), "the process does not start"  # its imports take longer than any file may
        return process


@contextmanager
def loader(runtime: str, cwd: Path) -> Iterator[Loader]:
    """Yield a loader whose process is ended with the `with` block."""
    found = Loader(runtime=runtime, cwd=cwd)
    try:
        yield found
    finally:
        found.close()


def main(runtime: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    outcomes = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to what is called standard output
    choose_runtime(runtime)
    print("ready", file=outcomes, flush=True)
    for line in sys.stdin:
        what, folder = json.loads(line)
        before = _peak_mb()
        outcome = _outcome(lambda what=what, folder=folder: WAYS[what](Path(folder), runtime))
        growth = _peak_mb() - before
        if growth > MAX_GROWTH_MB:
            outcome = f"takes {growth:.0f} MB: {outcome}"
        print(json.dumps(outcome), file=outcomes, flush=True)


def _outcome(load: Callable[[], str]) -> str:
    try:
        return f"works: {load()}"
    except UserError as error:
        return f"UserError: {error}"
    except MemoryError:
        return "MemoryError"
    except Exception as error:
        return f"FAULT {type(error).__name__}: {error} at {_where(error)}"


def _where(error: BaseException) -> str:
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return "" if at is None else f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}"


def _peak_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(sys.argv[1])
