"""The command `model.serve` in a process of its own, which signals may end."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

_NEITHER = """
import sys
class Neither:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "ray"):
            raise ModuleNotFoundError(f"a service needs no {name}", name=name)
sys.meta_path.insert(0, Neither())
import model.serve.__main__ as s
"""

_SLOW = """
import time
load = s.load_model
def load_slow(path, **options):
    network, settings = load(path, **options)
    return lambda *batch: (time.sleep({seconds}), network(*batch))[1], settings
s.load_model = load_slow
"""


@contextmanager
def service_process(
    model: Path, temporary: Path, *, port: int = 0, seconds: float = 0, log: int = subprocess.PIPE
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield the process of the command, which can import neither torch nor Ray, and its port.

    Args:
        temporary: Its folder for temporary files.
        seconds: How long each batch takes.
        log: The descriptor of a file for its log. A pipe holds some hundred lines, and then stops the process.
    """
    code = f"{_NEITHER}{_SLOW.format(seconds=seconds) if seconds else ''}\ns.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(model), "--port", str(port), "--runtime", "onnxruntime"],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    try:
        assert process.stdout is not None
        runtime, first = process.stdout.readline(), process.stdout.readline()
        assert runtime.startswith("runtime: onnxruntime, float32, on the "), process.communicate()
        assert first.startswith(f"Serving {model} on http://127.0.0.1:"), process.communicate()
        assert first.endswith(" (Ctrl-C ends it)\n")
        yield process, int(first.split(":")[2].split()[0])
    finally:
        process.kill()
        process.communicate()
