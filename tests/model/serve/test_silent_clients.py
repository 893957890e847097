"""Clients that are slow, silent or many at once: they take little memory and nobody's turn for long."""

import json
import socket
import threading
import time
from contextlib import ExitStack
from functools import partial

import pytest

from model.serve import connection
from tests.support.load import count_statuses, request, send_all
from tests.support.service import ask, encoded, image, serving

PNG = encoded(image(), ".png")


def test_hundred_clients_at_once_are_answered_or_told_to_come_again(model, folder):
    sent = [request("/predict?filename=a.png", PNG, "image/png")] * 200
    with serving(model, folder, "--max-requests", "4") as port:
        outcomes = send_all(port, sent, num_clients=100)
        assert ask(port, "GET", "/healthz").status == 200
    counts = count_statuses(outcomes)
    assert counts.keys() == {"200", "503"}
    assert counts["200"] >= 4
    for one in outcomes:
        if one.status == 503:
            assert "\r\nretry-after: 1\r\n" in f"{one.head}\r\n"
            assert json.loads(one.body)["error"].endswith("requests are running, which is the limit; try again later")


def test_clients_beyond_the_last_connection_are_refused_until_one_is_silent(model, folder, monkeypatch):
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 5)
    monkeypatch.setattr(connection, "SILENT_SECONDS", 0.3)
    with serving(model, folder) as port, ExitStack() as stack:
        connect = partial(socket.create_connection, ("127.0.0.1", port), timeout=10)
        silent = [stack.enter_context(connect()) for _ in range(5)]
        (refused,) = send_all(port, [request("/predict?filename=a.png", PNG, "image/png")], num_clients=1)
        assert (refused.status, "retry-after: 1" in refused.head) == (503, True)
        assert json.loads(refused.body) == {"error": "too many clients are connected; try again later"}
        time.sleep(0.4)
        assert ask(port, "GET", "/healthz").status == 200
        assert silent[0].recv(1) == b"", "the one that was silent longest made room"


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: loc"])
def test_headers_that_never_end_take_no_longer_than_their_time(model, folder, monkeypatch, sent):
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.4)
    with serving(model, folder) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(sent)
        began = time.monotonic()
        assert _until_closed(client) == b""
        assert 0.2 < time.monotonic() - began < 5


def test_body_of_a_few_bytes_a_second_ends_at_its_time(model, folder):
    head = b"POST /predict?filename=a.png HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with serving(model, folder, "--timeout-seconds", "0.5") as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(head)
            ended = threading.Event()

            def trickle() -> None:
                while not ended.wait(0.1):
                    client.sendall(b"a")

            thread = threading.Thread(target=trickle)
            thread.start()
            answer = client.recv(1 << 16)
            ended.set()
            thread.join()
            assert answer.startswith(b"HTTP/1.1 408")
        assert ask(port, "GET", "/healthz").status == 200


def test_client_that_never_takes_its_answer_gets_no_more_of_it_after_its_time(model, folder):
    noise = encoded(image(0, 1500, 1500), ".png")
    with serving(model, folder, "--timeout-seconds", "1") as port, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.sendall(request("/predict?output=json&filename=a.png", noise, "image/png"))
        head = client.recv(10)
        time.sleep(2)
        answer = head + _until_closed(client)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    promised = int(answer.split(b"content-length: ")[1].split(b"\r\n")[0])
    assert len(answer) < promised


def _until_closed(client: socket.socket) -> bytes:
    try:
        return b"".join(iter(partial(client.recv, 1 << 16), b""))
    except ConnectionResetError:
        return b""
