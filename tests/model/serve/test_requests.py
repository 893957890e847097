"""Tokens, limits, faults and slow clients: what the service does with requests of any kind."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from tests.support.service import RGB, TOKEN, ask, encoded, image, post, serving


def test_request_that_is_too_large_is_refused_while_it_arrives(port):
    announced = post(port, "scan.png", bytes(2_000_001))
    streamed = ask(port, "POST", "/predict?filename=scan.png", iter([bytes(500_000)] * 5))
    for reply in (announced, streamed):
        assert reply.status == 413
        assert reply.error == "the request has more than 2 MB, which is the limit; send less"


def test_invalid_requests_get_a_json_answer(port):
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for method, path, body, headers, status in (
        ("GET", "/nothing", None, {}, 404),
        ("GET", "/predict", None, {}, 405),
        ("POST", "/predict?output=film&filename=a.png", b"x", {}, 422),
        ("POST", "/predict?filename=" + "a" * 300 + ".png", b"x", {}, 422),
        ("POST", "/predict", b"", {}, 415),
        ("POST", "/predict", b"no form", form, 400),
        ("POST", "/predict", b"--x--\r\n", form, 400),
        ("POST", "/predict", b"x", {"Content-Type": "multipart/form-data"}, 400),
        ("GET", "/", None, {"Host": "attacker.example"}, 400),
    ):
        reply = ask(port, method, path, body, headers)
        assert (reply.status, bool(reply.error)) == (status, True), path
    for raw in (b"\0\1\2\3\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(raw)
            assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert ask(port, "GET", "/healthz").status == 200


def test_fault_is_logged_and_answered_without_its_traceback(model, folder, caplog):
    def fail() -> None:
        raise RuntimeError("the network is ill")

    with serving(model, folder, slow=fail) as port:
        reply = post(port, "scan.png", encoded(image(), ".png"))
        assert (reply.status, reply.error) == (500, "the service failed at this request; its log says why")
        assert ask(port, "GET", "/healthz").status == 200
    assert "the network is ill" in caplog.text


def test_request_beyond_the_limit_is_refused_at_once(model, folder):
    began, go = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go.wait(20)

    content = encoded(image(), ".png")
    with serving(model, folder, "--max-requests", "1", slow=wait) as port, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, port, "scan.png", content)
        began.wait(20)
        try:
            second = post(port, "scan.png", content)
            health = ask(port, "GET", "/healthz")
        finally:
            go.set()
        assert (second.status, second.headers["retry-after"]) == (503, "1")
        assert "1 requests are running" in second.error
        assert (health.status, first.result().status) == (200, 200)
        assert post(port, "scan.png", content).status == 200


def test_token_is_required_and_never_logged(model, folder, caplog):
    content = encoded(image(), ".png")
    caplog.set_level("DEBUG")
    with serving(model, folder, token=TOKEN) as port:
        for header in (None, "Bearer wrong", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xff"):
            reply = post(port, "scan.png", content, headers={"Authorization": header} if header is not None else {})
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
            assert TOKEN not in reply.error
        assert post(port, "scan.png", content, headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
        assert json.loads(ask(port, "GET", "/healthz").body)["token_needed"] is True
    assert "POST /predict 401" in caplog.text
    assert TOKEN not in caplog.text
    assert "scan.png" not in caplog.text, "the name of a file may name a patient"


def test_slow_clients_are_disconnected(model, folder):
    with serving(model, folder, "--timeout-seconds", "0.5") as port:
        silent = socket.create_connection(("127.0.0.1", port), timeout=10)
        slow = socket.create_connection(("127.0.0.1", port), timeout=10)
        with silent, slow:
            silent.sendall(b"GET / HT")
            slow.sendall(b"POST /predict?filename=a.png HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
            answer = b"".join(iter(partial(slow.recv, 1000), b""))
            assert answer.startswith(b"HTTP/1.1 408")
            assert answer.endswith(b'{"error":"the request took over 0.5 s; send it faster"}')
            with suppress(ConnectionResetError):
                assert silent.recv(10) == b""
        assert ask(port, "GET", "/healthz").status == 200


def test_pages_load_nothing_from_other_hosts(port):
    for path in ("/", "/docs"):
        reply = ask(port, "GET", path)
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in policy
        assert b"http://" not in reply.body
        assert b"https://" not in reply.body
        assert (reply.headers["x-content-type-options"], reply.headers["cache-control"]) == ("nosniff", "no-store")
        assert "access-control-allow-origin" not in reply.headers
    paths = json.loads(ask(port, "GET", "/openapi.json").body)["paths"]
    assert paths.keys() == {"/predict", "/healthz"}
    health = json.loads(ask(port, "GET", "/healthz").body)
    assert (health["status"], health["channels"], health["size"]) == ("ok", list(RGB), 16)
