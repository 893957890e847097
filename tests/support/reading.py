"""Read files in a process of its own, whose new memory is not zero: what a reader returns must not depend on it.

`MALLOC_PERTURB_=1 python -m tests.support.reading` is that process: it reads a path a line, and prints an outcome a
line. Two of them with other memory differ where a reader returns what lay in its memory before.
"""

import hashlib
import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A process that reads files."""

    process: subprocess.Popen[str]

    def read(self, path: Path) -> str:
        """Return a hash of the values in a file, or the error after its class.

        Raises:
            AssertionError: The process ends, or takes too long.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(str(path)) + "\n")
        self.process.stdin.flush()
        ready = select.select([self.process.stdout], [], [], MAX_SECONDS)[0]
        line = self.process.stdout.readline() if ready else ""
        assert line, f"the process that reads ended with {self.process.poll()}, or took over {MAX_SECONDS} s"
        return json.loads(line)


@contextmanager
def reading(perturb: int) -> Iterator[Reading]:
    """Yield a process whose new memory is filled with a byte."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.reading"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=os.environ | {"MALLOC_PERTURB_": str(perturb)},
    )
    try:
        yield Reading(process=process)
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    outcomes = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to what is called standard output
    for line in sys.stdin:
        print(json.dumps(_outcome(Path(json.loads(line)))), file=outcomes, flush=True)


def _outcome(path: Path) -> str:
    from data.errors import BadFiles

    try:
        return hashlib.sha256(_values(path)).hexdigest()
    except BadFiles as error:
        return f"BadFiles: {re.sub('0x[0-9a-f]+', '0x', str(error))}"  # addresses differ
    except Exception as error:
        return f"FAULT {type(error).__name__}: {error}"


def _values(path: Path) -> bytes:
    from data.readers.dicom.series.header import read_header
    from data.readers.dicom.series.pixels import read_series
    from data.readers.dicom.series.series import find_series
    from data.readers.image_files.picture import SUFFIXES, read_pages
    from data.readers.volumes.formats.table import read_volume_file

    if path.suffix in SUFFIXES:
        return b"".join(page.pixels.tobytes() for page in read_pages(path, may_be_stack=True))
    if path.suffix != ".dcm":
        return read_volume_file(path).values.tobytes()
    headers = [header for one in sorted(path.parent.glob("*.dcm")) if (header := read_header(one))]
    images = [header for header in headers if header.kind == "image"]
    return b"".join(read_series(series).values.tobytes() for series in find_series(images) if not series.problem)


if __name__ == "__main__":
    main()
