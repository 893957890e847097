"""Notices of clouds, played by a server on the loopback: what is asked, and when Ray is told."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from search.cluster import notice
from search.cluster.cloud_metadata import Service
from search.cluster.notice import Raylet, find_raylets, main

RAYLET = Raylet(node_id="ab12", gcs_address="10.0.0.1:6379")
AWS_ACTION = "/latest/meta-data/spot/instance-action"
GCP_PREEMPTED = "/computeMetadata/v1/instance/preempted"
AZURE_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
AZURE_NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
SOON = datetime(2035, 1, 2, 8, 22, tzinfo=UTC)

Answer = tuple[int, str]


@dataclass
class Cloud:
    """A metadata service: answers by request, one after the other, the last one for ever."""

    answers: dict[str, list[Answer]]
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, request: str, headers: dict[str, str]) -> Answer:
        self.asked.append((request, headers))
        left = self.answers.get(request, [(404, "")])
        return left.pop(0) if len(left) > 1 else left[0]


@dataclass
class Node:
    """A machine with a raylet, and what Ray was told."""

    raylets: list[Raylet]
    drained: list[tuple[Raylet, float, str]] = field(default_factory=list)
    objections: list[str | None] = field(default_factory=list)

    def drain(self, raylet: Raylet, deadline: float, reason: str) -> str | None:
        objection = self.objections.pop(0) if self.objections else None
        if objection is None:
            self.drained.append((raylet, deadline, reason))
            self.raylets.remove(raylet)  # Ray ends an empty node that is drained
        return objection


@pytest.fixture
def node(monkeypatch) -> Node:
    node = Node([RAYLET])
    monkeypatch.setattr(notice, "find_raylets", lambda: list(node.raylets))
    monkeypatch.setattr(notice, "drain", node.drain)
    return node


@pytest.fixture
def play() -> Iterator[Callable[..., Cloud]]:
    """Start a cloud that answers so."""
    servers = []

    def start(answers: dict[str, list[Answer]]) -> Cloud:
        cloud = Cloud(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content = cloud.answer(f"{self.command} {self.path}", dict(self.headers.items()))
                if status == 0:  # hangs up
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content.encode())

            do_PUT = do_GET

            def log_message(self, format: str, *args: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        cloud.url = f"http://127.0.0.1:{server.server_port}"
        return cloud

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def watch(cloud_name: str, cloud: Cloud) -> int:
    return main([cloud_name, "--metadata", cloud.url, "--look-seconds", "0"])


def aws(*actions: Answer) -> dict[str, list[Answer]]:
    return {"PUT /latest/api/token": [(200, "token-1"), (200, "token-2")], f"GET {AWS_ACTION}": list(actions)}


def azure(*events: dict) -> dict[str, list[Answer]]:
    none = (200, json.dumps({"DocumentIncarnation": 1, "Events": []}))
    found = (200, json.dumps({"DocumentIncarnation": 2, "Events": events}))
    return {f"GET {AZURE_EVENTS}": [none, found], f"GET {AZURE_NAME}": [(200, "workers_3")]}


def event(kind: str, *machines: str) -> dict:
    return {"EventType": kind, "Resources": machines, "NotBefore": format_datetime(SOON, usegmt=True)}


def test_aws_is_asked_with_a_token_until_it_names_a_time_and_ray_learns_it(node, play):
    action = json.dumps({"action": "terminate", "time": "2035-01-02T08:22:00Z"})
    cloud = play(aws((404, ""), (404, ""), (200, action)))
    assert watch("aws", cloud) == 0
    assert node.drained == [(RAYLET, SOON.timestamp(), "aws will reclaim this machine")]
    (put, put_headers), *asked = cloud.asked
    assert put == "PUT /latest/api/token"
    assert put_headers["X-aws-ec2-metadata-token-ttl-seconds"] == "21600"
    assert [request for request, _ in asked] == 3 * [f"GET {AWS_ACTION}"], "one token is enough"
    assert all(headers["X-aws-ec2-metadata-token"] == "token-1" for _, headers in asked)


def test_aws_takes_a_new_token_after_one_was_refused(node, play):
    cloud = play(aws((404, ""), (401, "Unauthorized"), (200, '{"action": "stop", "time": "2035-01-02T08:22:00Z"}')))
    assert watch("aws", cloud) == 0
    tokens = [headers.get("X-aws-ec2-metadata-token") for request, headers in cloud.asked if "GET" in request]
    assert tokens == ["token-1", "token-1", "token-2"]
    assert len(node.drained) == 1


def test_a_notice_without_a_readable_time_means_half_a_minute(node, play):
    assert watch("aws", play(aws((200, '{"action": "hibernate"}')))) == 0
    [(_, deadline, _)] = node.drained
    assert deadline == pytest.approx(time.time() + 30, abs=5)


def test_gcp_announces_a_preemption_by_true(node, play):
    cloud = play({f"GET {GCP_PREEMPTED}": [(200, "FALSE"), (200, "FALSE"), (200, "TRUE")]})
    assert watch("gcp", cloud) == 0
    [(raylet, deadline, reason)] = node.drained
    assert (raylet, reason) == (RAYLET, "gcp will reclaim this machine")
    assert deadline == pytest.approx(time.time() + 30, abs=5)
    assert all(headers["Metadata-Flavor"] == "Google" for _, headers in cloud.asked)


@pytest.mark.parametrize("kind", ["Preempt", "Terminate"])
def test_azures_events_for_this_machine_count(node, play, kind):
    cloud = play(azure(event("Freeze", "workers_3"), event(kind, "workers_1", "workers_3")))
    assert watch("azure", cloud) == 0
    assert node.drained == [(RAYLET, SOON.timestamp(), "azure will reclaim this machine")]
    assert all(headers["Metadata"] == "true" for _, headers in cloud.asked)


def test_azures_events_for_other_machines_and_lesser_events_do_not_count(node, play, monkeypatch):
    cloud = play(azure(event("Preempt", "workers_1"), event("Freeze", "workers_3")))
    looks = iter([[RAYLET]] * 5 + [[]])  # then Ray ends
    monkeypatch.setattr(notice, "find_raylets", lambda: next(looks))
    assert watch("azure", cloud) == 0
    assert node.drained == []


@pytest.mark.parametrize("trouble", [(0, ""), (503, "busy"), (500, "")])
def test_a_service_that_has_answered_once_is_asked_for_ever(node, play, trouble):
    cloud = play({f"GET {GCP_PREEMPTED}": [(200, "FALSE"), *[trouble] * 20, (200, "TRUE")]})
    assert watch("gcp", cloud) == 0
    assert len(node.drained) == 1


@pytest.mark.parametrize("cloud_name", ["aws", "gcp", "azure"])
def test_no_metadata_service_ends_in_a_line(node, capsys, cloud_name):
    arguments = [cloud_name, "--metadata", "http://127.0.0.1:9", "--look-seconds", "0"]
    assert main(arguments) == 1
    [line] = capsys.readouterr().out.splitlines()
    assert f"no notices from {cloud_name}: http://127.0.0.1:9 does not answer" in line
    assert "continue from their last whole epoch" in line


@pytest.mark.parametrize("cloud_name", ["aws", "gcp", "azure"])
def test_the_metadata_service_of_another_cloud_ends_in_a_line(node, play, capsys, cloud_name):
    assert watch(cloud_name, play({})) == 1
    assert f"no notices from {cloud_name}" in capsys.readouterr().out
    assert node.drained == []


def test_watching_ends_with_ray(node, play, capsys):
    node.raylets.clear()
    assert watch("gcp", play({f"GET {GCP_PREEMPTED}": [(200, "FALSE")]})) == 0
    assert "Ray has ended on this machine" in capsys.readouterr().out


def test_now_drains_every_node_of_the_machine_and_waits_until_they_are_empty(node):
    other = Raylet(node_id="cd34", gcs_address=RAYLET.gcs_address)
    node.raylets.append(other)
    assert main(["now", "--seconds", "20"]) == 0
    assert [raylet for raylet, _, _ in node.drained] == [RAYLET, other]
    assert all(deadline == pytest.approx(time.time() + 20, abs=5) for _, deadline, _ in node.drained)


def test_now_asks_again_where_the_head_does_not_answer(node, monkeypatch, capsys):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    node.objections[:] = ["RpcError: unavailable", "RpcError: unavailable"]
    assert main(["now"]) == 0
    assert len(node.drained) == 1
    assert capsys.readouterr().out.count("is not drained: RpcError: unavailable") == 2


def test_now_without_ray_says_so(node, capsys):
    node.raylets.clear()
    assert main(["now"]) == 0
    assert "there is no worker node of Ray on this machine" in capsys.readouterr().out


@pytest.mark.parametrize("is_head", [False, True])
def test_raylets_are_found_by_their_command_lines_except_the_heads(is_head):
    raylet = Raylet(node_id=f"ab12{is_head}", gcs_address="10.0.0.1:6379")
    flags = [f"--node_id={raylet.node_id}", f"--gcs-address={raylet.gcs_address}", *(["--head"] if is_head else [])]
    code = "import os, sys; os.execv('/bin/sh', sys.argv[1:])"
    shell = ["/somewhere/raylet", "-c", "echo; read line", *flags]
    process = subprocess.Popen([sys.executable, "-c", code, *shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # wait until it has taken its new command line
    found = find_raylets()
    process.communicate(b"\n")
    assert (raylet in found) == (not is_head)
    assert raylet not in find_raylets()


def test_a_proxy_is_never_asked(play, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    cloud = play({f"GET {GCP_PREEMPTED}": [(200, "FALSE")]})
    assert Service(cloud.url, timeout_seconds=2.0).ask(GCP_PREEMPTED, {}) == "FALSE"


def test_watching_costs_neither_ray_nor_torch_nor_much_memory():
    code = """
import sys
import search.cluster.notice
heavy = {"ray", "torch", "numpy", "tyro", "urllib.request"} & set(sys.modules)
[peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(sorted(heavy), int(peak.split()[1]) // 1024)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy, megabytes = said.rsplit(maxsplit=1)
    assert heavy == "[]"
    assert int(megabytes) < 30


def test_the_time_of_a_notice_without_a_zone_is_utc(node, play):
    assert watch("aws", play(aws((200, '{"action": "stop", "time": "2035-01-02T08:22:00"}')))) == 0
    assert node.drained[0][1] == SOON.timestamp()
