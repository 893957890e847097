"""The `.wandb` files of a run: how they are read, joined to one, and written.

Such a file is a log of `wandb_internal_pb2.Record` in LevelDB's format: blocks of 32 KiB, in them pieces of records
behind a checksum, a length and a kind (https://github.com/google/leveldb/blob/main/doc/log_format.md; W&B's checksum is
the CRC-32 of IEEE, over the kind and the data). W&B has no reader or writer of it in Python since 0.30.
"""

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
BLOCK_BYTES = 32768
PIECE = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

Record = Any
"""`wandb_internal_pb2.Record`: W&B is imported where it is needed, for that takes a second."""


def find_parts(folder: Path) -> dict[str, list[Path]]:
    """Return the files of every run in an experiment's folder, by the run's id, the earliest first.

    A run has several where its trial was tracked online in several legs.
    """
    parts: dict[str, list[Path]] = {}
    folders = [*(folder / "wandb").glob("offline-run-*"), *(folder / "wandb").glob("run-*")]
    for part in sorted(folders, key=lambda part: part.name.removeprefix("offline-")):
        for file in part.glob("run-*.wandb"):
            parts.setdefault(file.name.removeprefix("run-").removesuffix(".wandb"), []).append(file)
    return parts


def read_records(file: Path) -> Iterator[Record]:
    """Yield the records, up to the first that its writer did not finish.

    Raises:
        ValueError: It is no `.wandb` file.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, record = file.read_bytes(), len(HEADER), b""
    if not content.startswith(HEADER):
        raise ValueError(f"{file} is not a file of W&B runs that this version can read")
    while place + PIECE.size <= len(content):
        if (room := -place % BLOCK_BYTES) and room < PIECE.size:
            place += room  # padding: too short for a piece
            continue
        checksum, length, kind = PIECE.unpack_from(content, place)
        piece = content[place + PIECE.size : place + PIECE.size + length]
        if len(piece) < length or checksum != zlib.crc32(piece, zlib.crc32(bytes([kind]))):
            return
        place += PIECE.size + length
        record = piece if kind in (FULL, FIRST) else record + piece
        if kind in (FULL, LAST):
            yield Record.FromString(record)


def write_records(file: Path, records: Iterable[Record]) -> None:
    """Write a `.wandb` file."""
    content = bytearray(HEADER)
    for record in records:
        left, kind = memoryview(record.SerializeToString()), None
        while kind not in (FULL, LAST):
            room = -len(content) % BLOCK_BYTES or BLOCK_BYTES
            if room < PIECE.size:
                content += bytes(room)
                room = BLOCK_BYTES
            piece, left = left[: room - PIECE.size], left[room - PIECE.size :]
            is_first = kind is None
            kind = (FIRST if left else FULL) if is_first else (MIDDLE if left else LAST)
            content += PIECE.pack(zlib.crc32(piece, zlib.crc32(bytes([kind]))), len(piece), kind) + piece
    file.write_bytes(content)


def joined(parts: list[Path]) -> list[Record]:
    """Return the records of a run's parts as if it had been one: every epoch once, as it was said last.

    Raises:
        ValueError: Nothing in the parts says which run it is.
    """
    begins, rest = [], []
    for part in parts:
        records = [record for record in read_records(part) if not record.HasField("exit")]
        begin = next((record for record in records if record.HasField("run")), None)
        if begin is not None:
            begins.append(begin)
            rest += [record for record in records if record is not begin]
    if not begins:
        raise ValueError(f"{parts[-1]} does not say which run it is: it was cut off at its beginning")
    begin = begins[-1]
    begin.run.start_time.CopyFrom(begins[0].run.start_time)
    begin.run.ClearField("starting_step")
    return [begin, *(_each_epoch_once(rest) if len(parts) > 1 else rest)]


def _each_epoch_once(records: list[Record]) -> list[Record]:
    """Return the records with the last of those lines of history that say the same of the same epoch."""
    lines: dict[Any, Record] = {}
    others = []
    for record in records:
        if not record.HasField("history"):
            others.append(record)
            continue
        values = {_name(item): item.value_json for item in record.history.item}
        names = frozenset(name for name in values if not name.startswith("_"))
        lines[values.get("epoch"), names] = record
    for step, record in enumerate(lines.values()):  # W&B's own axis: a part begins at 0, wherever the run was
        record.history.step.num = step
        for item in record.history.item:
            if _name(item) == "_step":
                item.value_json = str(step)
    return [*others, *lines.values()]


def _name(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def num_lines(records: list[Record]) -> int:
    """Return how many lines of history the records have."""
    return sum(record.HasField("history") for record in records)


def without_lines(records: list[Record], number: int) -> list[Record]:
    """Return the records without the first lines of history.

    W&B's client puts what it sends behind the lines that the server has: what is there would be there twice.
    """
    lines = iter(range(num_lines(records)))
    return [record for record in records if not record.HasField("history") or next(lines) >= number]


def at_the_end(records: list[Record], summary: dict[str, Any], exit_code: int) -> list[Record]:
    """Return the records with what is known of the run now: values of its summary, and its end."""
    from wandb.proto.wandb_internal_pb2 import Record

    said, end = Record(), Record()
    for name, value in summary.items():
        said.summary.update.add(key=name, value_json=json.dumps(value))
    end.exit.exit_code = exit_code
    # A record of nothing ends W&B's service process.
    return [*records, *([said] if summary else []), end]


def media_of(records: list[Record]) -> list[str]:
    """Return the names of the files, tables and images, that lines of history show."""
    names = {file.path for record in records for file in record.files.files}
    return sorted(name for name in names if name.startswith("media/"))


def locate_artifacts(records: list[Record], folder: Path) -> tuple[list[Record], list[str]]:
    """Return the records with artifacts that can be sent, and a sentence for each that cannot.

    A run that was tracked offline says where the files of its artifacts were. They are looked for in the experiment's
    folder too: it may have moved, to a machine that reaches W&B.
    """
    kept, problems = [], []
    for record in records:
        problem = _locate(record.artifact, folder) if record.HasField("artifact") else None
        if problem is None:
            kept.append(record)
        else:
            problems.append(problem)
    return kept, problems


def _locate(artifact: Any, folder: Path) -> str | None:
    for entry in artifact.manifest.contents:
        if not entry.local_path:
            continue
        parts = Path(entry.local_path).parts
        places = [Path(entry.local_path), *(folder.joinpath(*parts[start:]) for start in range(1, len(parts)))]
        found = [place for place in places if place.is_file()]
        if not found:
            return f"its artifact {artifact.name} is left out: {entry.local_path} does not exist any more"
        same = next((place for place in found if _md5(place) == entry.digest), None)
        if same is None:
            return f"its artifact {artifact.name} is left out: {found[0]} has changed since it was tracked"
        entry.local_path = str(same)
    return None


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return base64.b64encode(hashlib.file_digest(content, "md5").digest()).decode()
