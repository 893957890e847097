"""The folders that a search writes to: whether they can be written, how much room they have, and where they are."""

import os
from pathlib import Path

from data.errors import UserError
from search.cluster.start.temp_folder import MAX_SOCKET_BYTES, longest_socket, temporary_folder
from search.doctor.checks.environment import redact
from search.doctor.checks.finding import Finding, fail, format_bytes, ok, warn
from search.doctor.facts.folder import Folder, look_at
from search.doctor.facts.mounts import BUCKETS, is_network

LEAST, COMFORTABLE = 5e8, 5e9
"""Free bytes without which a search fails, and with which an ordinary one is at ease."""

FULL_SHARE = 0.95
"""Ray refuses to write its temporary files to a disk of which more is used (RAY_local_fs_capacity_threshold)."""

OWN_FOLDER = "for each search, Ray's sockets are then in a new short folder (/tmp/ray-...)"


def check_out(out: str) -> Finding:
    """Return the state of the folder of all experiments."""
    name = "experiments (--out)"
    if "://" in out:
        return ok(name, f"{redact(out)}, a bucket; not checked")
    folder = look_at(Path(out))
    if folder.problem:
        return fail(name, f"{folder.path}: {folder.problem}", "choose a folder that you may write to, by --out")
    if folder.kind in BUCKETS:
        remedy = "files are locked and appended to there, which a mounted bucket does not do well: use --out s3://..."
        return warn(name, _describe(folder), remedy)
    return _judge_space(name, folder, "remove old experiments, or choose a folder on another disk by --out")


def check_cache() -> Finding:
    """Return the state of the folder that keeps decoded slices from one search to the next."""
    from data.packing.cache import default_folder

    remedy = "set XDG_CACHE_HOME to a folder that can be written; without it, every search decodes all files again"
    try:
        folder = look_at(default_folder())
    except (RuntimeError, UserError) as error:  # there is no home, and nothing in its place
        return fail("cache", str(error), remedy)
    if folder.problem:
        return warn("cache", f"{folder.path}: {folder.problem}", remedy)
    return _judge_space("cache", folder, "make room there, or set XDG_CACHE_HOME to a folder on another disk")


def check_temporary() -> Finding:
    """Return the state of the folder for temporary files, in which Ray keeps its sockets and logs."""
    name, path = "temporary files", temporary_folder()
    folder, ray = look_at(path), look_at(path / "ray")
    if problem := folder.problem or ray.problem:
        return warn(name, f"{path}: {problem}", f"{OWN_FOLDER}; or set TMPDIR to a folder that you may write to")
    if is_network(folder.kind):
        return warn(name, _describe(folder), "Ray's sockets and logs are there: set TMPDIR to a folder on a local disk")
    if (length := longest_socket(path)) > MAX_SOCKET_BYTES:
        value = f"{_describe(folder)}; Ray's sockets there would have paths of {length} bytes"
        remedy = f"at most {MAX_SOCKET_BYTES} are legal: {OWN_FOLDER}; or set TMPDIR to a shorter one, such as /tmp"
        return warn(name, value, remedy)
    if folder.free < (1 - FULL_SHARE) * folder.total:
        remedy = "Ray writes nothing to a disk that is 95 % full: make room, or set TMPDIR to a folder on another disk"
        return warn(name, _describe(folder), remedy)
    return _judge_space(name, folder, "make room there, or set TMPDIR to a folder on another disk")


def check_home() -> list[Finding]:
    """Return the state of the user's home folder, and of the one where W&B's settings are."""
    home = os.environ.get("HOME")
    if not home:
        remedy = "set HOME to a folder that you may write to (docker run -e HOME=/tmp); programs keep settings there"
        return [warn("home", "HOME is not set", remedy)]
    folder = look_at(Path(home))
    if folder.problem:
        return [warn("home", f"{home}: {folder.problem}", "set HOME to a folder that you may write to")]
    found = [ok("home", _describe(folder))]
    wandb = Path(os.environ.get("WANDB_CONFIG_DIR") or Path(home) / ".config" / "wandb")
    if problem := look_at(wandb).problem:
        remedy = "`wandb login` writes there: set WANDB_CONFIG_DIR to a folder that you may write to"
        found.append(warn("settings of W&B", f"{wandb}: {problem}", remedy))
    return found


def _judge_space(name: str, folder: Folder, remedy: str) -> Finding:
    if folder.free < LEAST:
        return fail(name, _describe(folder), f"{format_bytes(LEAST)} are needed: {remedy}")
    if folder.free < COMFORTABLE:
        return warn(name, _describe(folder), f"enough for a small search; for more than that, {remedy}")
    return ok(name, _describe(folder))


def _describe(folder: Folder) -> str:
    there = "" if folder.exists else " (will be made)"
    kind = f", on a network ({folder.kind})" if is_network(folder.kind) else ""
    return f"{folder.path}{there}, {format_bytes(folder.free)} free{kind}"
