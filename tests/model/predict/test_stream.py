"""Names from standard input are predicted as they come, and any name that a file can have is predicted."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.predict_command import failure, table

ROOT = Path(__file__).resolve().parents[3]


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)


def test_stream_is_predicted_line_by_line_and_ctrl_c_keeps_finished_patients(model, source, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "model.predict", str(model), "-", "--out", str(out), "--runtime", "onnxruntime"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    for line, patient in ((f"{source / 'A'}\n", "A"), (f"\n{tmp_path / 'nothing'}\n{source / 'B'}\n", "B")):
        assert process.stdin is not None
        process.stdin.write(line)
        process.stdin.flush()
        wait_for(out / patient / "prediction.json", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nothing does not exist" in errors
    assert "interrupted; finished patients are kept, and the same command predicts the others" in errors
    assert "Traceback" not in errors
    assert [row["patient"] for row in table(out)] == ["A", "B"]
    assert sorted(path.name for path in out.iterdir()) == ["A", "B", "volumes.csv"]


@pytest.mark.parametrize("by_stream", [False, True])
def test_file_names_that_are_not_utf_8_are_predicted(model, source, tmp_path, by_stream):
    names = [b"caf\xe9_1.tif", b"caf\xe9_2.tif"]
    folder = os.fsencode(tmp_path / "latin") + b"/caf\xe9"
    os.makedirs(folder)
    for name, path in zip(names, sorted((source / "A").glob("A_?.tif")), strict=True):
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(path.read_bytes())
    alone = os.path.join(folder, names[0])
    lines, inputs = b"\n".join([folder, alone, folder + b"/\xff"]), ["-"] if by_stream else [folder, alone]
    done = subprocess.run(
        [sys.executable, "-m", "model.predict", str(model), *inputs, "--out", str(tmp_path / "out")],
        input=lines if by_stream else None,
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )
    assert done.returncode == (2 if by_stream else 0), done.stderr
    assert (b"udcff does not exist" in done.stderr) == by_stream
    assert b"Traceback" not in done.stderr
    written = (tmp_path / "out" / "volumes.csv").read_bytes().splitlines()[1:]
    assert [row.split(b",")[:2] for row in written] == [[b"caf\xe9", b"2"], [b"caf\xe9_1", b"1"]]
    assert os.path.exists(os.path.join(os.fsencode(tmp_path), b"out", b"caf\xe9", b"caf\xe9_2_mask.tif"))


def test_stream_predicts_files_once_and_names_failures(model, source, tmp_path, capsys, monkeypatch):
    lines = tmp_path / "lines"
    cv2.imwrite(str(tmp_path / "A.png"), np.zeros((8, 8, 3), np.uint8))
    twice = [
        source / "A",
        source / "A" / "A_1_mask.tif",
        source / "A",
        source / ".." / "in" / "A",
        source / "A" / "A_1.tif",
    ]
    lines.write_text("\n".join(map(str, [*twice, twice[-1], tmp_path / "A.png", source / "C"])))
    with lines.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        said = failure(capsys, model, "-", out=tmp_path / "out")
    assert f"A.png: a patient of this name is already in {source / 'A'}; predict them separately" in said
    assert "error: 1 of 4 patient(s) could not be predicted" in said
    assert [row["patient"] for row in table(tmp_path / "out")] == ["A", "A_1", "C"]
