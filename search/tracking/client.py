"""What W&B's server is asked for a whole experiment: a sweep, and to take runs that were tracked offline.

It runs in a process apart (apart.py), and imports nothing that takes seconds.
"""

import asyncio
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from search.tracking import run_file
from search.tracking.apart import Answer, answer, in_a_line

REQUEST_SECONDS = 10.0
"""How long a request may take. It is repeated once; W&B's own limits have its client try for days."""

ARRIVAL_SECONDS = 10.0
"""How long the server may take to say that it has what it was sent."""

POLL_SECONDS = 0.1

SCRATCH_FOLDER = "sync"


def place_of(project: str) -> str:
    """Return where runs of a project go from here, as W&B reads it: its environment, then its settings' files."""
    from wandb.sdk import wandb_setup

    settings = wandb_setup.singleton().settings
    return f"{settings.base_url} {settings.entity or '-'} {project}"


def work(question: dict[str, Any]) -> Iterator[Answer]:
    """Yield the sweep of an experiment, then what becomes of each run that is to be sent, as it comes.

    Raises:
        RuntimeError: There is no key. (W&B raises its own errors where a server does not answer, or refuses.)
    """
    import wandb

    limits: dict[str, Any] = {f"x_{part}_retry_max": 1 for part in ("graphql", "file_stream", "file_transfer")}
    limits |= {f"x_{part}_retry_wait_max_seconds": 1.0 for part in ("graphql", "file_stream", "file_transfer")}
    limits |= {f"x_{part}_timeout_seconds": REQUEST_SECONDS for part in ("graphql", "file_stream")}
    wandb.setup(settings=wandb.Settings(silent=True, **limits))
    if not wandb.login(prompt=False, verify=True):
        raise RuntimeError("there is no API key: log in by `wandb login`, or set WANDB_API_KEY")
    sweep = _sweep(question)
    yield {"sweep": sweep}
    if question["runs"]:
        yield from _Sender(question, sweep).send()


def _sweep(question: dict[str, Any]) -> dict[str, str]:
    """Return the sweep that is there already, or a new one."""
    import wandb

    place = place_of(question["project"])
    for sweep in question["sweeps"]:
        if sweep["place"] == place:
            return sweep
    sweep_id = wandb.sweep(question["sweep_config"], project=question["project"])
    # `wandb.sweep` leaves here what the server calls them.
    entity, project = os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"]
    page = f"{wandb.setup().settings.app_url}/{quote(entity)}/{quote(project)}"
    return {
        "place": place,
        "entity": entity,
        "project": project,
        "id": sweep_id,
        "url": f"{page}/sweeps/{quote(sweep_id)}",
        "group_url": f"{page}/groups/{quote(question['name'])}",
    }


class _Sender:
    """Sends runs, several at a time, by the means of `wandb sync`."""

    def __init__(self, question: dict[str, Any], sweep: dict[str, str]) -> None:
        import wandb
        from wandb.sdk import wandb_setup

        self._question = question
        self._sweep = sweep
        self._api = wandb.Api(timeout=round(REQUEST_SECONDS))
        self._client = wandb_setup.singleton()
        self._scratch = Path(question["folder"]) / "wandb" / SCRATCH_FOLDER
        self._said: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._asking = threading.Lock()
        self._gone = threading.Event()

    def send(self) -> Iterator[Answer]:
        """Yield `{"run": ..., "problem": ...}` of each, and between them `{"doing": ...}` as something moves."""
        shutil.rmtree(self._scratch, ignore_errors=True)  # of a sync that was killed
        runs = self._question["runs"]
        self._lines = {run.id: run.historyLineCount for run in self._runs([run["id"] for run in runs])}
        with ThreadPoolExecutor(self._question["jobs"]) as pool:
            for run in runs:
                pool.submit(self._send_one, run)
            left = len(runs)
            while left:
                said = self._said.get()
                left -= "run" in said
                yield said
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _send_one(self, run: dict[str, Any]) -> None:
        if self._gone.is_set():
            self._said.put({"run": run["id"], "problem": "not tried: W&B does not answer any more"})
            return
        try:
            problem = self._sent(run)
        except Exception as error:  # a file that is no run, a full disk, W&B's own
            problem = in_a_line(error)
        self._said.put({"run": run["id"], "problem": problem})

    def _sent(self, run: dict[str, Any]) -> str | None:
        """Return why a run is not on the server, whole; None if it is."""
        whole = run_file.joined([Path(part) for part in run["parts"]])
        records, problems = run_file.locate_artifacts(whole, Path(self._question["folder"]))
        records = run_file.without_lines(records, self._lines.get(run["id"], 0))
        records = run_file.at_the_end(records, run["summary"], run["exit_code"])
        records[0].run.sweep_id = self._sweep["id"]
        records[0].run.run_group = self._question["name"]  # of the folder, which may have another name now
        problems += self._client.asyncer.run(lambda: self._upload(self._scratch_copy(run, records)))
        # W&B's client calls a run sent whose lines or files did not get through.
        end = time.monotonic() + (0.0 if problems else ARRIVAL_SECONDS)
        try:
            while (missing := self._missing(run["id"], whole)) and time.monotonic() < end:
                time.sleep(POLL_SECONDS)
        except Exception as error:
            self._gone.set()
            missing = f"W&B does not answer any more: {in_a_line(error)}"
        return "; ".join([*problems, *filter(None, [missing])]) or None

    def _scratch_copy(self, run: dict[str, Any], records: list[Any]) -> Path:
        """Return the file that W&B's client is to send, beside links to the media that its lines name."""
        folder = self._scratch / run["id"]
        for part in run["parts"]:
            files = Path(part).parent / "files"
            for file in files.rglob("*"):
                if file.is_file():
                    link = folder / "files" / file.relative_to(files)
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.unlink(missing_ok=True)
                    link.symlink_to(file.resolve())
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"run-{run['id']}.wandb"
        run_file.write_records(file, records)
        return file

    async def _upload(self, file: Path) -> list[str]:
        """Return what W&B's client complains of."""
        from wandb.proto.wandb_sync_pb2 import ServerSyncMessage

        service = self._client.ensure_service()
        opened = await service.init_sync(
            {file},
            self._client.settings,
            cwd=None,
            live=False,
            entity=self._sweep["entity"],
            project=self._sweep["project"],
            run_id="",
            job_type="",
            tag_replacements={},
        )
        number = (await opened.wait_async(timeout=REQUEST_SECONDS)).id
        end = asyncio.ensure_future((await service.sync(number, parallelism=1)).wait_async(timeout=None))
        messages, doing = [], []
        while not end.done():
            await asyncio.wait({end}, timeout=POLL_SECONDS)
            status = await (await service.sync_status(number)).wait_async(timeout=REQUEST_SECONDS)
            messages += status.new_messages
            before, doing = doing, _doing(status)
            if doing != before:  # else nothing moves
                self._said.put({"doing": doing})
        messages += end.result().messages
        return [_complaint(message) for message in messages if message.severity >= ServerSyncMessage.SEVERITY_WARNING]

    def _missing(self, name: str, records: list[Any]) -> str | None:
        """Return what the server does not have of a run."""
        lines, media = run_file.num_lines(records), run_file.media_of(records)
        with self._asking:
            run = next(iter(self._runs([name])), None)
            if run is None:
                return "W&B does not have it"
            there = {file.name for file in run.files(media, per_page=1000) if file.size} if media else set()
        if run.historyLineCount != lines:
            return f"W&B has {run.historyLineCount} of its {lines} lines of history"
        if absent := sorted(set(media) - there):
            return f"W&B has not {absent[0]}" + (f", nor {len(absent) - 1} other files" if absent[1:] else "")
        return None

    def _runs(self, names: list[str]) -> Any:
        """Return the runs of these ids that the server has."""
        self._api.flush()  # it remembers answers
        path = f"{self._sweep['entity']}/{self._sweep['project']}"
        return self._api.runs(path, filters={"name": {"$in": names}}, per_page=1000)


def _doing(status: Any) -> list[str]:
    return [
        " ".join(filter(None, [operation.desc, operation.progress, operation.error_status]))
        for one in status.stats
        for operation in one.operations
    ]


def _complaint(message: Any) -> str:
    """Return what W&B's client says went wrong: its first sentence, without the run's name in brackets before it."""
    said = in_a_line(message.content.partition("] ")[2] or message.content)
    return said.partition(". ")[0]


if __name__ == "__main__":
    sys.exit(answer(work))
