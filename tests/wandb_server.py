"""A W&B server on this machine, as much of one as a run and its artifact need (W&B 0.31).

W&B's client talks GraphQL to it, and puts files where it is told. It keeps what it is sent.
"""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = {
    "id": "P",
    "internalId": "UHJvamVjdEludGVybmFsSWQ6MQ==",
    "name": "tumours",
    "entity": {"id": "E", "name": "me"},
}

ARTIFACT = {
    "__typename": "Artifact",
    "id": "A",
    "artifactSequence": {"__typename": "ArtifactSequence", "id": "S", "name": "small-model", "project": PROJECT},
    "versionIndex": 0,
    "artifactType": {"id": "T", "name": "model"},
    "description": None,
    "metadata": None,
    "ttlDurationSeconds": -1,
    "ttlIsInherited": False,
    "tags": [],
    "historyStep": None,
    "state": "COMMITTED",
    "size": 0,
    "digest": "",
    "commitHash": "",
    "fileCount": 0,
    "createdAt": "2026-01-01T00:00:00",
    "updatedAt": None,
    "aliases": [],
}


class Server(ThreadingHTTPServer):
    """What it was asked, by the operation's name, and the files that it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.silent_on = ""
        """An operation that is never answered."""
        self.refused = ""
        """An operation that is refused."""
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client hangs up when it is done."""

    def answer(self, operation: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return the data of an answer."""
        artifact = {"id": "A", "state": "PENDING", "digest": "", "artifactSequence": {"id": "S"}}
        run = {"id": "R", "name": values.get("name"), "displayName": values.get("displayName"), "project": PROJECT}
        match operation:
            case "UpsertBucket":
                return {"upsertBucket": {"bucket": run, "inserted": True}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.url}/run/{name}"} for name in values["files"]]
                return {"createRunFiles": {"runID": "R", "uploadHeaders": [], "files": files}}
            case "ArtifactType":
                return {"project": {"artifact": None}}
            case "CreateArtifact":
                return {"createArtifact": {"artifact": artifact}}
            case "CreateArtifactManifest":
                file = {"id": "F", "uploadUrl": f"{self.url}/manifest", "uploadHeaders": []}
                return {"createArtifactManifest": {"artifactManifest": {"id": "M", "file": file}}}
            case "CreateArtifactFiles":
                names = [file["name"] for file in values["input"]["artifactFiles"]]
                nodes = [
                    {"id": name, "name": name, "uploadUrl": f"{self.url}/model/{name}", "uploadHeaders": []}
                    | {"artifact": {"id": "A"}, "storagePath": name}
                    for name in names
                ]
                return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
            case "CommitArtifact":
                return {"commitArtifact": {"artifact": artifact}}
            case "ArtifactByID":
                return {"artifact": ARTIFACT}
        return {"RunResumeStatus": {"model": None}, "Viewer": {"viewer": {"id": "U", "entity": "me"}}}.get(
            operation, {}
        )


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None: ...

    def do_PUT(self) -> None:
        self.server.files[self.path.lstrip("/")] = self._read()
        self._say({})

    def do_POST(self) -> None:
        content = self._read()
        if not self.path.endswith("/graphql"):
            return self._say({})
        question = json.loads(content)
        operation = re.search(r"(?:query|mutation)\s+(\w+)", question["query"])[1]
        values = question.get("variables") or {}
        self.server.asked.setdefault(operation, []).append(values)
        if operation == self.server.silent_on:
            self.server.released.wait(30)
        if operation == self.server.refused:
            return self._say({"errors": [{"message": "no room is left"}]}, status=400)
        return self._say({"data": self.server.answer(operation, values)})

    def _read(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def _say(self, answer: dict[str, Any], *, status: int = 200) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def wandb_server() -> Iterator[Server]:
    """Yield a server that listens."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()
