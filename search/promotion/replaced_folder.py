"""A folder that is replaced as a whole, or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_folder(best: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `best` at the end; on an error, an earlier `best` stays."""
    partial, before = (best.with_name(f"{best.name}.{state}") for state in ("partial", "before"))
    if before.exists() and not best.exists():  # an earlier promotion was killed between two renames
        before.rename(best)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        _replace(best, partial, before)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(best: Path, partial: Path, before: Path) -> None:
    """Replace `best` by the new folder; on an error, put the earlier one back."""
    shutil.rmtree(before, ignore_errors=True)
    if best.exists():
        best.rename(before)
    try:
        partial.rename(best)
    except BaseException:
        if before.exists():
            before.rename(best)
        raise
    shutil.rmtree(before, ignore_errors=True)
