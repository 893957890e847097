"""Who writes to an experiment in a bucket: an object that its holder renews, for a bucket has no locks.

Whoever begins writes it, waits a moment and reads it again: of two who begin at once, the later writer stays. A holder
on this machine is alive or not, and that can be seen. One on another machine is alive if it renews its lease while
somebody looks; how long it was silent before is measured by the bucket's own clock, so that clocks need not agree.
"""

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.errors import UserError
from search.storage.storage_path import StoragePath

LEASE_FILE = "lease.json"

RENEW_SECONDS = 10.0

STALE_SECONDS = 60.0
"""After so long without a renewal a holder on another machine counts as dead: it has missed five."""

SETTLE_SECONDS = 0.5
"""Between writing a lease and reading who has it: far more than two writers' requests may lie apart, once both have
found it free."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that writes to an experiment."""

    session: str
    """Of this time of writing alone: who finds its own session has nothing to learn from the bucket."""

    host: str
    pid: int
    machine: str
    """Tells apart, together with pid and start, all processes of all machines."""

    start: str
    since: str
    released: bool = False


POLL_SECONDS = 2.0
"""Between two looks at a lease that may be renewed."""


class LeaseLost(Exception):
    """Another process has taken the experiment over."""


class Lease:
    """An experiment in a bucket, held."""

    def __init__(self, location: StoragePath, holder: Holder, *, last_session: str | None = None) -> None:
        """Begin with a lease that is not taken yet (`take_lease`).

        Args:
            last_session: Of who held it before.
        """
        self._file = location / LEASE_FILE
        self.holder = holder
        self.last_session = last_session
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, on_lost: Callable[[str], None], *, renew_seconds: float = RENEW_SECONDS) -> None:
        """Renew it from a thread of its own, until `release`; tell of its loss once, and then leave it alone."""

        def renew() -> None:
            while not self._ended.wait(renew_seconds):
                try:
                    self.renew()
                except LeaseLost as error:
                    return on_lost(str(error))
                except OSError:  # an outage; the mirror says so
                    continue

        self._thread = threading.Thread(target=renew, daemon=True, name="lease")
        self._thread.start()

    def renew(self) -> None:
        """Say that the holder lives.

        Raises:
            LeaseLost: It is somebody else's now.
            OSError: The bucket does not answer.
        """
        found = read_holder(self._file)
        if found is not None and found.session != self.holder.session:
            raise LeaseLost(f"{found.host} (process {found.pid}) has taken it over, {found.since}")
        self._write(self.holder)

    def release(self) -> None:
        """Let go; the session stays known, for who comes next.

        Raises:
            OSError: The bucket does not answer.
        """
        self._ended.set()
        if self._thread:
            self._thread.join(5.0)
        found = read_holder(self._file)
        if found is None or found.session == self.holder.session:
            self._write(Holder(**asdict(self.holder) | {"released": True}))

    def _write(self, holder: Holder) -> None:
        self._file.write_bytes(json.dumps(asdict(holder)).encode())


def take_lease(
    location: StoragePath,
    name: str,
    *,
    stale_seconds: float = STALE_SECONDS,
    settle_seconds: float = SETTLE_SECONDS,
    poll_seconds: float = POLL_SECONDS,
) -> Lease:
    """Return the lease of an experiment, taken: at once, unless its last holder was on another machine and may live.

    Raises:
        ValueError: Somebody holds it.
        OSError: The bucket does not answer.
    """
    file = location / LEASE_FILE
    found = read_holder(file)
    lease = Lease(location, _myself(), last_session=found and found.session)
    if found is not None and not found.released:
        _check_dead(found, file, name, stale_seconds, poll_seconds)
    lease._write(lease.holder)
    time.sleep(settle_seconds)
    found = read_holder(file)
    if found is not None and found.session != lease.holder.session:
        raise UserError(f"{name} was taken at the same moment by {_describe(found)}: wait for its end, or stop it")
    return lease


def read_holder(file: StoragePath | Path) -> Holder | None:
    """Return who holds a lease or has released it last; None where nobody ever did.

    Raises:
        OSError: The bucket does not answer.
    """
    try:
        values: Any = json.loads(file.read_bytes())
        return Holder(**values)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # not of this version: as good as none
        return None


def is_live(holder: Holder, silent_seconds: float, *, stale_seconds: float = STALE_SECONDS) -> bool:
    """Whether a holder is at work, as far as can be seen from here."""
    if holder.released:
        return False
    if holder.machine == _machine():
        return _start_of(holder.pid) == holder.start
    return silent_seconds < stale_seconds


def _check_dead(found: Holder, file: StoragePath, name: str, stale_seconds: float, poll_seconds: float) -> None:
    """Make sure that the holder of a lease is dead. One of another machine is watched, until it renews or is silent.

    Raises:
        ValueError: It is alive.
    """
    if found.machine == _machine():
        is_alive = is_live(found, 0.0)
    else:
        before, silent = file.filesystem.get_file_info(file.path).mtime, _silent_seconds(file)
        if silent < stale_seconds:
            print(
                f"note: {name} is held by {_describe(found)}; waiting up to {stale_seconds - silent:.0f} s to see "
                "whether that lives",
                file=sys.stderr,
            )
        deadline = time.monotonic() + stale_seconds - silent
        is_alive = False
        while not is_alive and time.monotonic() < deadline:
            time.sleep(poll_seconds)
            is_alive = file.filesystem.get_file_info(file.path).mtime != before
    now = read_holder(file) or found
    if is_alive and not now.released:
        raise UserError(f"{name} is being written by {_describe(now)}: wait for its end, or stop it")


def _silent_seconds(file: StoragePath) -> float:
    """Return how long a lease was not renewed, by the bucket's clock."""
    clock = StoragePath(file.filesystem, f"{file.path}.clock")
    clock.write_bytes(b"now")
    now, then = (file.filesystem.get_file_info(one.path).mtime for one in (clock, file))
    clock.remove()
    return (now - then).total_seconds() if now and then else 0.0


def _describe(holder: Holder) -> str:
    return f"process {holder.pid} of {holder.host} since {holder.since}"


def _myself() -> Holder:
    return Holder(
        session=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        machine=_machine(),
        start=_start_of(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _machine() -> str:
    """Return what tells process numbers apart: the machine, since it was started, and its space of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return f"{socket.gethostname()} {uuid.getnode()}"


def _start_of(pid: int) -> str:
    """Return when a process was started, in the machine's own words; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if stat[0] in "ZX" else stat[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
        return "" if Path("/proc/self/stat").exists() else "alive"
    except OSError:
        return ""
