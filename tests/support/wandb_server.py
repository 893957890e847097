"""A W&B server on this machine, as much of one as sweeps, runs and their artifacts need (W&B 0.31).

W&B's client talks GraphQL to it, and puts files where it is told. It keeps what it is sent, as the real one does: a
line of history goes where its offset says, and a run that is sent again goes on behind the lines that it has.

`python tests/support/wandb_server.py PORT` runs one for a person to try things on.
"""

import base64
import gzip
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass
class Run:
    """A run as the server knows it."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    """What UpsertBucket said last of each: displayName, groupName, sweep, jobType, ..."""

    config: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of history without what W&B adds."""
        return [
            {name: value for name, value in json.loads(line).items() if not name.startswith("_")} for line in self.lines
        ]


class Server(ThreadingHTTPServer):
    """What it was asked, by the operation's name, the runs and sweeps that it has, and the files that it was sent.

    Besides GraphQL's, there are the operations `FileStream` (a run's history, summary and end) and `Upload` (a file).
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.runs: dict[str, Run] = {}
        self.sweeps: list[dict[str, Any]] = []
        self.key: str | None = None
        """The only key that is taken; None: every key is."""
        self.silent_on = ""
        """An operation that is never answered; `*`: none is."""
        self.refused = ""
        """An operation that is refused."""
        self.broken_on = ""
        """An operation that is answered by an internal error, status 500; `*`: all are."""
        self.dies: Callable[[str, dict[str, Any]], bool] = lambda operation, values: False
        """Whether the server is gone from this operation on: connections are closed without an answer."""
        self.is_dead = False
        self.released = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client hangs up when it is done."""

    def answer(self, operation: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return the data of an answer."""
        artifact = {"id": "A", "state": "PENDING", "digest": "", "artifactSequence": {"id": "S"}}
        match operation:
            case "Viewer" | "GetDefaultEntity":
                return {"viewer": {"id": "U", "entity": "me", "username": "me", "defaultEntity": {"name": "me"}}}
            case "UpsertSweep":
                return {"upsertSweep": self.upsert_sweep(values)}
            case "UpsertBucket":
                return {"upsertBucket": {"bucket": self.upsert_run(values), "inserted": True}}
            case "RunResumeStatus":
                return {"model": {"bucket": self.resume_status(values["name"])}}
            case "Runs":
                return {"project": self.list_runs(values)}
            case "RunFiles":
                return {"project": {"internalId": "1", "run": self.list_files(values)}}
            case "CreateRunFiles":
                names = values["files"]
                files = [{"name": name, "uploadUrl": f"{self.url}/run/{values['run']}/{name}"} for name in names]
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
        return {}

    def upsert_sweep(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the sweep that is made."""
        self.sweeps.append(values)
        sweep = {"name": f"sweep{len(self.sweeps)}", "project": PROJECT | {"name": values["projectName"]}}
        return {"sweep": sweep, "configValidationWarnings": []}

    def upsert_run(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the run, made or changed."""
        run = self.runs.setdefault(values["name"], Run(values["name"]))
        run.facts |= {name: value for name, value in values.items() if value is not None and name != "config"}
        if values.get("config"):
            run.config = {name: entry["value"] for name, entry in json.loads(values["config"]).items()}
        project = PROJECT | {"name": values.get("project") or PROJECT["name"]}
        return {
            "id": f"R-{run.name}",
            "name": run.name,
            "displayName": run.facts.get("displayName"),
            "sweepName": run.facts.get("sweep"),
            "historyLineCount": len(run.lines),
            "project": project,
        }

    def resume_status(self, name: str) -> dict[str, Any] | None:
        """Return what a client needs to go on with a run; None of one that is not there."""
        run = self.runs.get(name)
        if run is None:
            return None
        return {
            "name": name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.facts.get("displayName"),
            "logLineCount": 0,
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps(run.lines[-1:]),
            "eventsTail": "[]",
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "tags": [],
            "wandbConfig": '{"t": 1}',
        }

    def list_runs(self, values: dict[str, Any]) -> dict[str, Any] | None:
        """Return the runs of a group, or of some ids; None where there is no project yet."""
        if not self.runs and not self.sweeps:
            return None
        filters = json.loads(values["filters"])
        groups, names = filters.get("group"), filters.get("name", {}).get("$in")
        runs = [
            run
            for run in self.runs.values()
            if (groups is None or run.facts.get("groupName") == groups) and (names is None or run.name in names)
        ]
        nodes = [
            {
                "id": f"R-{run.name}",
                "projectId": "1",
                "name": run.name,
                "tags": [],
                "state": "finished",
                "user": {"name": "me", "username": "me"},
            }
            | {"displayName": run.facts.get("displayName"), "sweepName": run.facts.get("sweep")}
            | {"group": run.facts.get("groupName"), "historyLineCount": len(run.lines)}
            for run in runs
        ]
        edges = [{"node": node, "cursor": node["name"]} for node in nodes]
        page = {"endCursor": None, "hasNextPage": False}
        return {"internalId": "1", "runCount": len(runs), "readOnly": False, "runs": {"edges": edges, "pageInfo": page}}

    def list_files(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the files of a run, or those of some names."""
        files, names = self.runs[values["name"]].files, values["fileNames"]
        nodes = [
            {"id": name, "name": name, "url": "", "directUrl": "", "sizeBytes": len(content), "mimetype": "", "md5": ""}
            | {"updatedAt": None}
            for name, content in files.items()
            if not names or name in names
        ]
        page = {"endCursor": None, "hasNextPage": False}
        edges = [{"node": node, "cursor": node["name"]} for node in nodes]
        return {"fileCount": len(nodes), "files": {"edges": edges, "pageInfo": page}}

    def stream(self, name: str, values: dict[str, Any]) -> None:
        """Take a piece of a run's history, its summary, its end."""
        run = self.runs[name]
        for file, chunk in values.get("files", {}).items():
            if file == "wandb-history.jsonl":
                end = chunk["offset"] + len(chunk["content"])
                run.lines += [""] * (end - len(run.lines))
                run.lines[chunk["offset"] : end] = chunk["content"]
            elif file == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
        if values.get("complete"):
            run.exit_code = values["exitcode"]


class _Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride] (the base is not generic)
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_PUT(self) -> None:
        content, path = self._read(), self.path.lstrip("/")
        if not self._is_served("Upload", {"path": path}):
            return
        self.server.files[path] = content
        if path.startswith("run/"):
            _, name, file = path.split("/", 2)
            self.server.runs[name].files[file] = content
        self._say({})

    def do_POST(self) -> None:
        content = self._read()
        if not self.path.endswith("/graphql"):
            values = json.loads(content) | {"path": self.path}
            if self._is_served("FileStream", values):
                with self.server.lock:
                    self.server.stream(self.path.split("/")[-2], values)
                self._say({})
            return
        question = json.loads(content)
        found = re.search(r"(?:query|mutation)\s+(\w+)", question["query"])
        assert found is not None
        operation = found[1]
        values = question.get("variables") or {}
        if self._is_served(operation, values):
            with self.server.lock:
                answer = self.server.answer(operation, values)
            self._say({"data": answer})

    def _is_served(self, operation: str, values: dict[str, Any]) -> bool:
        """Note an operation; return whether it is to be answered, and answer it otherwise as the server is told."""
        server = self.server
        with server.lock:
            server.asked.setdefault(operation, []).append(values)
            server.is_dead = server.is_dead or server.dies(operation, values)
        if server.is_dead:
            self.close_connection = True
            return False
        if server.silent_on in (operation, "*"):
            server.released.wait(30)
        if operation != "Upload" and server.key is not None and self._key() != server.key:  # its address is the secret
            self._say({"errors": [{"message": "user is not logged in"}]}, status=401)
        elif server.refused == operation:
            self._say({"errors": [{"message": "no room is left"}]}, status=400)
        elif server.broken_on in (operation, "*"):
            self._say({"error": "broken"}, status=500)
        else:
            return True
        return False

    def _key(self) -> str:
        """Return the key that the client shows, as the password of a user."""
        content = self.headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(content).decode().partition(":")[2]

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
def wandb_server(port: int = 0) -> Iterator[Server]:
    """Yield a server that listens."""
    with Server(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def _serve(port: int) -> None:
    """Serve until the process ends, and say now and then what is there."""
    with wandb_server(port) as server:
        print(f"WANDB_BASE_URL={server.url}", flush=True)
        seen = ""
        while True:
            time.sleep(1)
            runs = " ".join(f"{run.name}:{len(run.lines)}" for run in server.runs.values())
            if (now := f"{len(server.sweeps)} sweeps, {len(server.files)} files, runs {runs}") != seen:
                print(seen := now, flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
