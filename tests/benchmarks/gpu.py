"""Do everything that needs a GPU in a few minutes: test it, and measure training on it in every way there is.

    python tests/benchmarks/gpu.py [--out gpu_results] [--seconds 570] [--parts tests training side_by_side]
    python tests/benchmarks/gpu.py --device cpu         # rehearses all parts, small

It needs no more than torch, NumPy, OpenCV and albumentations; a part that needs another package is skipped, and says
which. Each part is a process with a limit of time. Its result is written to `--out` as soon as it ends, and a part that
has one there is not done again, so a run that was cut off continues. No part begins after `--seconds`. The parts:

    tests          the tests that are marked `gpu`
    training       training.py at 128 and 256 pixels: the program, the limit, others; use of the device's operations
    side_by_side   side_by_side.py: 1, 2, 4 and 8 models in one program
    lanes          lanes.py: 1, 2 and 4 trials on the device, each in a process
    search         lanes.py --search: the same by Ray with `--gpus-per-worker`

The last line of output is one JSON object with all results.
"""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

SMALL = ("--size", "32", "--width", "2", "--batch-size", "4", "--batches", "1", "--rounds", "1")
"""Sizes of a rehearsal."""

SMALL_SEARCH = ("--size", "64", "--trials", "2", "--epochs", "1")
"""Those of a search, whose deepest network needs 64 pixels."""

GRACE_SECONDS = 10.0
"""For a part whose time is up to end by itself."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A command whose last line of output is its result."""

    command: Sequence[str]
    """Arguments of Python."""

    options: Sequence[str]
    """Further ones on a GPU."""

    rehearsal: Sequence[str]
    """Further ones on a CPU, in place of `options`."""

    limit_seconds: float
    packages: Sequence[str] = ()
    """It needs these beside torch, NumPy, OpenCV and albumentations."""

    has_json: bool = True


PARTS = {
    "tests": Part(
        # Without the project's own options and fixtures, which need all its packages.
        command=("-m", "pytest", "-q", "-c", os.devnull, "--rootdir", ".", "--noconftest", "-p", "no:cacheprovider"),
        options=("tests/model/test_one_gpu.py",),
        rehearsal=("tests/model/test_one_gpu.py",),
        limit_seconds=90,
        packages=("pytest",),
        has_json=False,
    ),
    "training": Part(
        command=("tests/benchmarks/training.py",),
        options=("--device", "cuda", "--size", "128", "256", "--batches", "32", "--timeout-seconds", "75"),
        rehearsal=(*SMALL, "--size", "32", "64", "--no-compile"),
        limit_seconds=300,
    ),
    "side_by_side": Part(
        command=("tests/benchmarks/side_by_side.py",),
        options=("--device", "cuda", "--compile", "--batches", "16", "--timeout-seconds", "90"),
        rehearsal=(*SMALL, "--models", "1", "2"),
        limit_seconds=200,
    ),
    "lanes": Part(
        command=("tests/benchmarks/lanes.py",),
        options=("--device", "cuda", "--batches", "32"),
        rehearsal=(*SMALL, "--lanes", "1", "2"),
        limit_seconds=120,
    ),
    "search": Part(
        command=("tests/benchmarks/lanes.py", "--search"),
        options=("--device", "cuda", "--rounds", "1"),
        rehearsal=(*SMALL, *SMALL_SEARCH, "--lanes", "1", "2"),
        limit_seconds=240,
        packages=("ray", "optuna", "tyro", "rich", "tifffile", "jaxtyping"),
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Do the parts, and print their results."""
    arguments = _parse(argv)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + arguments.seconds
    results: dict[str, Any] = {}
    for name in arguments.parts:
        file = out / f"{name}_{arguments.device}.json"
        if file.exists():
            results[name] = json.loads(file.read_text())
            continue
        results[name] = do_part(PARTS[name], arguments.device, out / f"{name}.log", ends - time.monotonic())
        print(f"{name}: {json.dumps(results[name])}", flush=True)
        if results[name]["state"] == "done":
            file.write_text(json.dumps(results[name]))
    print(json.dumps({"device": arguments.device, **results}))


def do_part(part: Part, device: str, log: Path, seconds_left: float) -> dict[str, Any]:
    """Return the state of a part (done, failed, skipped), why it is not done, its seconds and its result.

    Args:
        log: File for all that it prints.
        seconds_left: Before the whole run ends.
    """
    missing = [name for name in part.packages if not _is_installed(name)]
    if missing:
        return {"state": "skipped", "why": f"it needs {', '.join(missing)}"}
    limit = min(part.limit_seconds, seconds_left)
    if limit <= 0:
        return {"state": "skipped", "why": "the time is up"}
    command = [sys.executable, *part.command, *(part.options if device == "cuda" else part.rehearsal)]
    began = time.monotonic()
    why = _run(command, device, log, limit)
    lines = log.read_text().splitlines()
    found = {"state": "failed" if why else "done", "why": why, "seconds": round(time.monotonic() - began, 1)}
    # A part that failed may have printed results before.
    return {**found, "result": _last_json(lines) if part.has_json else " ".join(lines[-1:])}


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # as a finder may say it
        return False


def _run(command: Sequence[str], device: str, log: Path, limit: float) -> str | None:
    """Run a command, and return why it failed; None if it did not."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(device), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"not done after {limit:.0f} s"
    return f"ended with status {status}, see {log.name}" if status else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started; a search ends its Ray if it is asked to."""
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(device: str) -> Mapping[str, str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.getenv("PYTHONPATH"))))}
    return environment if device == "cuda" else {**environment, "CUDA_VISIBLE_DEVICES": ""}


def _last_json(lines: Sequence[str]) -> Any:
    for line in reversed(lines):
        if line.startswith("{"):
            return json.loads(line)
    return None


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--out", default="gpu_results", help="folder for results and logs")
    parser.add_argument("--seconds", type=float, default=570.0, help="after which no part begins or goes on")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to do, in this order")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
