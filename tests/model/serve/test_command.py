"""The command `model.serve`: mistakes in its arguments, faults, and the signals that end it."""

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from model.serve.__main__ import main
from tests.support.faults import assert_fault
from tests.support.service import encoded, image, post
from tests.support.service_process import service_process


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


@pytest.mark.parametrize(("number", "seconds"), [(signal.SIGINT, 60), (signal.SIGTERM, 0)])
def test_signal_ends_the_service_within_two_seconds(model, tmp_path, number, seconds):
    content = encoded(image(), ".png")
    with service_process(model, tmp_path, seconds=seconds) as (process, port), ThreadPoolExecutor(1) as pool:
        reply = pool.submit(post, port, "scan.png", content)
        if seconds:
            wait_for_file(tmp_path)
        else:
            assert reply.result().status == 200
        began = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
        assert time.monotonic() - began < 2
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert list(tmp_path.iterdir()) == []
        assert not seconds or reply.result().status == 503


def test_service_that_was_killed_leaves_its_port_and_no_file_to_the_next_one(model, tmp_path):
    content = encoded(image(), ".png")
    with ThreadPoolExecutor(1) as pool:
        with service_process(model, tmp_path, seconds=60) as (process, port):
            lost = pool.submit(post, port, "scan.png", content)
            folder = wait_for_file(tmp_path)
            assert folder.stat().st_mode & 0o777 == 0o700
            process.kill()
            process.wait()
            with pytest.raises((OSError, HTTPException)):
                lost.result()
            assert folder.exists()
        with service_process(model, tmp_path, port=port, seconds=0.5) as (process, _):
            assert not folder.exists()
            reply = pool.submit(post, port, "scan.png", content)
            wait_for_file(tmp_path)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            with pytest.raises(OSError, match=r"refused|reset"):
                post(port, "scan.png", content)
            assert reply.result().status == 200, "a request that takes no longer than a second is answered"
            process.communicate(timeout=10)
            assert process.returncode == 0
        assert list(tmp_path.iterdir()) == []


def wait_for_file(temporary: Path) -> Path:
    """Return the folder of a service once it holds the file of a request that runs."""
    while not (found := list(temporary.glob("tumour-search-serve-*/*/received/scan.png"))):
        time.sleep(0.02)
    return found[0].parents[2]
