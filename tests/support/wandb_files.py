"""Offline W&B runs, read back from their files (W&B 0.31)."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue] (generated code)

from search.record.epochs import EpochMetrics


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a `.wandb` file: 7 bytes of header, then LevelDB's log in blocks of 32 KiB."""
    content, place, parts = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while place + 7 <= len(content):
        if (left := -place % 32768) and left < 7:
            place += left  # the padding of a block: too short for a header
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        if place + 7 + length > len(content):  # it is being written
            return
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, or the last part
            yield Record.FromString(parts)
            parts = b""


def as_dict(items) -> dict:
    """Return values by name; of one that is more than a number, such as a table, its parts."""
    found: dict = {}
    for item in items:
        *groups, name = [item.key] if item.key else item.nested_key
        place = found
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = json.loads(item.value_json)
    return found


def read_run(folder: Path, number: int) -> dict:
    """Return what a trial's newest offline run says, as a person would look it up."""
    path = max(folder.glob(f"wandb/*run-*/run-small-t{number:03d}.wandb"), key=lambda path: path.stat().st_mtime_ns)
    deadline = time.monotonic() + 10
    while not any(record.HasField("exit") for record in read_records(path)):  # the service writes on after `finish`
        assert time.monotonic() < deadline, f"{path} has no end"
        time.sleep(0.02)
    run: dict = {"config": {}, "history": [], "summary": {}, "artifacts": []}
    for record in read_records(path):
        match record.WhichOneof("record_type"):
            case "run":
                run |= {"project": record.run.project, "group": record.run.run_group, "id": record.run.run_id}
                run |= {"name": record.run.display_name, "job_type": record.run.job_type}
                run["config"] |= as_dict(record.run.config.update)
            case "config":
                run["config"] |= as_dict(record.config.update)
            case "history":
                run["history"].append(as_dict(record.history.item))
            case "summary":
                run["summary"] |= as_dict(record.summary.update)
            case "artifact":
                run["artifacts"].append(record.artifact)
            case "exit":
                run["exit_code"] = record.exit.exit_code
    return run


def shown(history: list[dict]) -> list[EpochMetrics]:
    """Return the epochs of a history, without tables, and without what W&B adds."""
    return [
        EpochMetrics.from_json(
            {key: value for key, value in entry.items() if not key.startswith("_") and not isinstance(value, dict)}
        )
        for entry in history
    ]
