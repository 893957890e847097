"""RAY_ADDRESS: what is legal, and a sentence for everything that is no Ray cluster."""

import http.server
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from data.errors import UserError
from search.cluster.start import address as module
from search.cluster.start.address import NO_API_SERVER, api_server_variable, find_cluster
from search.cluster.start.start_internals import HEAD_METHOD


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """A port of this machine on which nobody listens yet."""
    with socket.socket() as bound:
        bound.bind(("", 0))  # Ray takes another address of this machine for 127.0.0.1
        yield bound


@pytest.fixture
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def grpc_server() -> Iterator[tuple[str, dict[str, grpc.StatusCode]]]:
    """A server that speaks Ray's protocol, and what it answers, by method; other methods are unknown to it."""
    answers: dict[str, grpc.StatusCode] = {}

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            if (status := answers.get(handler_call_details.method)) is None:
                return None
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: b"" if status == grpc.StatusCode.OK else context.abort(status, "no")
            )

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Handler()])
    port = server.add_insecure_port("0.0.0.0:0")
    server.start()
    yield f"127.0.0.1:{port}", answers
    server.stop(None).wait()


def complaint(address: str) -> str:
    with pytest.raises(UserError) as caught:
        find_cluster(address)
    assert str(caught.value).startswith(f"RAY_ADDRESS is '{address}', but ")
    return str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["nonsense", "10.0.0.7:port", "http://10.0.0.7:8265", ":6379", "h:0", "h:99999"],
)
def test_an_illegal_address_is_answered_with_the_legal_ones(address):
    assert "must be HOST:PORT, auto or local" in complaint(address)


def test_a_port_where_nothing_listens_is_said_at_once(bound):
    assert "Connection refused" in complaint(f"127.0.0.1:{bound.getsockname()[1]}")


def test_a_server_that_accepts_connections_and_is_silent_is_said_after_the_limit(bound, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1.0)
    bound.listen()
    assert "has not answered for 1 s" in complaint(f"127.0.0.1:{bound.getsockname()[1]}")


def test_a_web_server_is_not_ray(web_server):
    assert "not Ray" in complaint(web_server)


def test_a_server_of_ray_is_a_head_or_not(grpc_server):
    server, answers = grpc_server
    assert "no head of a Ray cluster" in complaint(server)
    answers[HEAD_METHOD] = grpc.StatusCode.OK
    assert (find_cluster(server) or "").endswith(server.rpartition(":")[2])


@pytest.mark.parametrize("address", ["ray://", "ray://10.0.0.7", "ray://10.0.0.7:10001"])
def test_a_search_does_not_run_in_a_client_of_ray(address):
    assert "start it there with RAY_ADDRESS=auto" in complaint(address)


def test_a_cluster_that_requires_a_token_says_so(grpc_server, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE")
    server, answers = grpc_server
    answers[HEAD_METHOD] = grpc.StatusCode.UNAUTHENTICATED
    assert "set RAY_AUTH_MODE=token" in complaint(server)


def test_workers_are_told_the_api_server_of_their_own_cluster_or_that_there_is_none():
    assert api_server_variable("10.0.0.7:6379") == {"RAY_API_SERVER_ADDRESS": "10.0.0.7:6379"}
    assert api_server_variable(find_cluster("local")) == {"RAY_API_SERVER_ADDRESS": NO_API_SERVER}
