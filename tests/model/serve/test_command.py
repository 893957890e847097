"""The command `model.serve`: mistakes in its arguments, faults, and the signals that end it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.serve.__main__ import main
from tests.support.faults import assert_fault
from tests.support.service import encoded, image, post


def refusal(capsys, *arguments: object) -> str:
    try:
        status = main([str(one) for one in arguments])
    except SystemExit as stopped:  # what tyro raises while it reads the arguments
        status = stopped.code
    assert status == 2
    return capsys.readouterr().err.strip()


def test_command_names_mistakes_in_one_sentence(model, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TUMOUR_SEARCH_TOKEN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = taken.getsockname()[1]
        assert "(Address already in use); choose another" in refusal(capsys, model, "--port", used)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    assert "error: model nothing does not exist" in refusal(capsys, "nothing", "--port", 0)
    assert "cannot be read as ONNX" in refusal(capsys, bad, "--port", 0)
    assert "port is 70000, but must be 0 to 65535" in refusal(capsys, model, "--port", 70000)
    assert "cannot listen at 192.0.2.1" in refusal(capsys, model, "--host", "192.0.2.1", "--port", 0)
    assert "max_megabytes is 0, but must be above 0" in refusal(capsys, model, "--max-megabytes", 0)
    assert "max_batch is 0, but must be at least 1" in refusal(capsys, model, "--max-batch", 0)
    message = refusal(capsys, model, "--host", "0.0.0.0", "--port", 0)
    assert "reached from other machines, but there is no token: give --token-file" in message
    (tmp_path / "token").write_text("secret words\n")
    message = refusal(capsys, model, "--port", 0, "--token-file", tmp_path / "token")
    assert "is not legal: it must be at least 16" in message
    assert "secret" not in message
    assert "token file" in refusal(capsys, model, "--port", 0, "--token-file", tmp_path)
    monkeypatch.setenv("TUMOUR_SEARCH_TOKEN", "")
    assert "the token in TUMOUR_SEARCH_TOKEN is not legal" in refusal(capsys, model, "--port", 0)


def test_fault_of_the_command_keeps_its_traceback(model, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError("planted")

    monkeypatch.setattr("model.serve.__main__.prepare_server", lambda *_, **__: fail())
    assert_fault(capsys, main, [str(model), "--port", "0"])


ROOT = Path(__file__).resolve().parents[3]


NEITHER = """
import sys
class Neither:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "ray"):
            raise ModuleNotFoundError(f"a service needs no {name}", name=name)
sys.meta_path.insert(0, Neither())
import model.serve.__main__ as s
"""


@contextmanager
def command(model: Path, temporary: Path, before: str = "") -> Iterator[tuple[subprocess.Popen, int]]:
    """Yield the process of the command, without torch and Ray, and its port."""
    code = f"{NEITHER}{before}\ns.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(model), "--port", "0", "--runtime", "onnxruntime"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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


SLOW = """
import time
load = s.load_model
def load_slow(path, **options):
    network, settings = load(path, **options)
    return lambda *batch: (time.sleep(60), network(*batch))[1], settings
s.load_model = load_slow
"""


@pytest.mark.parametrize(("number", "before"), [(signal.SIGINT, SLOW), (signal.SIGTERM, "")])
def test_signal_ends_the_service_within_two_seconds(model, tmp_path, number, before):
    content = encoded(image(), ".png")
    with command(model, tmp_path, before) as (process, port), ThreadPoolExecutor(1) as pool:
        reply = pool.submit(post, port, "scan.png", content)
        if before:
            while not list(tmp_path.glob("tumour-search-*/*/received/scan.png")):
                time.sleep(0.02)
        else:
            assert reply.result().status == 200
        began = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
        assert time.monotonic() - began < 2
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert list(tmp_path.iterdir()) == []
        assert not before or reply.result().status == 503
