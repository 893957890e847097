"""Errors of trials: a headline for people, the whole in a file, with what the processes that it names said last."""

from pathlib import Path

import pytest

from search.record.trial_errors import MAX_HEADLINE, error_file, headline, keep_error

TRACEBACK = 'Traceback (most recent call last):\n  File "train.py", line 3, in train\n    raise ValueError("odd")\n'
LOST = f"""Failure # 1 (occurred at 2026-01-02_03-04-05)
The actor died because of an error raised in its creation task, ray::Lane.__init__() (pid=4321, ip=10.0.0.1)
{TRACEBACK}search.cluster.worker_group.WorkerGroupLost: worker 0 of 2 is gone: EOFError()"""
DIED = """Failure # 1 (occurred at 2026-01-02_03-04-05)
The actor died unexpectedly before finishing this task.
\tclass_name: Lane
\tpid: 4321
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("no room", "no room"),
        ("first line\nlast line\n", "first line"),
        (f"ValueError: odd\n{TRACEBACK}ValueError: odd\n", "ValueError: odd"),
        # What CUDA adds to its errors says less than their first line.
        (
            "RuntimeError: CUDA error: an assert\nCUDA kernel errors are reported late.\n",
            "RuntimeError: CUDA error: an assert",
        ),
        (LOST, "WorkerGroupLost: worker 0 of 2 is gone: EOFError()"),
        (DIED, "The actor died unexpectedly before finishing this task."),
        ("KeyError: '\x1b[31m肿瘤\x07'", "KeyError: '�[31m肿瘤�'"),
        (" \n", ""),
        ("", ""),
    ],
)
def test_headline_by_hand(error, line):
    assert headline(error) == line


def test_headline_is_short():
    assert headline("ValueError: " + "x" * 1000) == "ValueError: " + "x" * (MAX_HEADLINE - 13) + "…"


@pytest.mark.parametrize("error", [LOST, DIED])
def test_error_file_has_what_the_dead_process_said_last(tmp_path, error):
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "worker-0a-01-4321.err").write_bytes(b"x" * 30_000 + b"\nSegmentation fault \xff\n")
    (logs / "worker-0b-01-43210.err").write_text("of another process")
    keep_error(tmp_path, 7, error, logs)
    text = error_file(tmp_path, 7).read_text()
    assert text.startswith(error)
    assert f"{logs}/worker-0a-01-4321.err, its end:\nxxx" in text
    assert text.endswith("\nSegmentation fault �\n\n")
    assert "another" not in text
    assert len(text) < 21_000


def test_errors_of_a_trial_are_kept_once_each_in_their_order(tmp_path):
    for error in ("first", "second", "first"):
        keep_error(tmp_path, 1, error, Path("nowhere"))
    assert error_file(tmp_path, 1).read_text() == "first\n\nsecond\n\n"
