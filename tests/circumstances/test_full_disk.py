"""A whole search whose disk becomes full ends with one sentence, and goes on when there is room again."""

import pytest

from data.readers.phantom_drawing import write_phantom
from search.record.jsonl import read_lines
from search.record.trials import State, read_rows
from tests.circumstances.tiny_search import own_mounts, tiny_search

DISK = """
mount -t tmpfs -o size="$SIZE" none "$OUT" || exit 77
"$@"
echo "first: $?"
cp "$OUT/tiny/events.jsonl" "$KEPT"
mount -o remount,size=500m "$OUT"
"$@" --resume tiny
echo "second: $?"
cp "$OUT/tiny/events.jsonl" "$KEPT/after.jsonl"
cp "$OUT/tiny/trials.jsonl" "$KEPT"
"""
"""Runs a command on a disk of its own that is small, and again when the disk has become large."""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("size", "file", "more"),
    [
        ("1200k", "checkpoint.pt", ()),
        ("1200k", "checkpoint.pt", ("--workers-per-trial", "2")),
        ("1200k", "checkpoint.pt", ("--tracking", "offline")),
        ("4m", "report.html", ()),
    ],
)
def test_search_on_a_full_disk_says_so_and_goes_on_when_there_is_room(size, file, more, tmp_path):
    data, out, kept = write_phantom(tmp_path, num_patients=6) / "kaggle_3m", tmp_path / "out", tmp_path / "kept"
    out.mkdir()
    kept.mkdir()
    options = ("--data", str(data), "--trials", "2", "--max-epochs", "3", "--searcher", "random", *more)
    environment = {"SIZE": size, "OUT": str(out), "KEPT": str(kept)}
    wrapper = (*own_mounts(), "sh", "-c", DISK, "sh")
    done = tiny_search(out, *options, env=environment, wrapper=wrapper, timeout=1500)
    assert "first: 2\n" in done.stdout, done.stdout + done.stderr
    assert "second: 0\n" in done.stdout, done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert file in line
    assert "could not be written: the disk has no room for it (" in line
    assert line.endswith(f"To continue the search then: python -m search.tune --resume tiny --out {out}")
    assert "Traceback" not in done.stderr

    before, after = read_lines(kept / "events.jsonl"), read_lines(kept / "after.jsonl")
    assert after[: len(before)] == before, "nothing that was written is lost"
    assert not [event for event in after if event["event"] == "lost"], "no trial is blamed"
    rows = read_rows(kept / "trials.jsonl")
    assert sorted(row.number for row in rows) == [0, 1]
    assert State.FAILED not in {row.state for row in rows}
    assert all([epoch.epoch for epoch in row.epochs] == list(range(1, len(row.epochs) + 1)) for row in rows)
