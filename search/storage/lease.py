"""The lease of an experiment in a bucket: an object that its holder renews, because a bucket has no locks.

To take a lease, a process writes it, waits a moment, and reads it again: if two write at the same time, the later one
gets it. A holder on this machine is alive if its process exists. A holder on another machine is alive if it renews its
lease while we watch. How long it has been silent is measured by the bucket's clock, so the machines' clocks need not
agree.
"""

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.errors import UserError
from search.storage.storage_path import StoragePath

LEASE_FILE = "lease.json"

RENEW_SECONDS = 10.0

STALE_SECONDS = 60.0
"""After this time without a renewal a holder on another machine counts as dead; it has missed five renewals."""

SETTLE_SECONDS = 0.5
"""Time between writing a lease and reading it again. If two processes both found the lease free, their writes are much
less than this apart."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that writes to an experiment."""

    session: str
    """An id that is new each time a lease is taken. A working folder with the same session has everything that the
    bucket has."""

    host: str
    pid: int
    machine: str
    """Id of the machine. With pid and start, it identifies a process among those of all machines."""

    start: str
    """When the process was started, as the system writes it."""

    since: str
    """When the lease was taken, in ISO 8601."""

    released: bool = False


POLL_SECONDS = 2.0
"""How often a lease is read while waiting for a process on another machine to renew it."""


class LeaseLost(Exception):
    """Another process has taken over the experiment."""


class Lease:
    """Holds an experiment in a bucket for this process."""

    def __init__(self, location: StoragePath, holder: Holder, *, last_session: str | None = None) -> None:
        """Begin with a lease that is not taken yet (`take_lease` takes one).

        Args:
            last_session: The session of the holder before.
        """
        self._file = location / LEASE_FILE
        self.holder = holder
        self.last_session = last_session
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, on_lost: Callable[[str], None], *, renew_seconds: float = RENEW_SECONDS) -> None:
        """Renew the lease from a thread until `release`, or until it is lost; then call `on_lost` with the reason."""

        def renew() -> None:
            while not self._ended.wait(renew_seconds):
                try:
                    self.renew()
                except LeaseLost as error:
                    return on_lost(str(error))
                except OSError:  # an outage; the uploader tells the user
                    continue

        self._thread = threading.Thread(target=renew, daemon=True, name="lease")
        self._thread.start()

    def renew(self) -> None:
        """Write the lease again, to show that the holder is alive.

        Raises:
            LeaseLost: Another process holds it now.
            OSError: The bucket does not answer.
        """
        found = read_holder(self._file)
        if found is not None and found.session != self.holder.session:
            raise LeaseLost(f"{found.host} (process {found.pid}) has taken it over, {found.since}")
        self.write(self.holder)

    def release(self) -> None:
        """Release the lease. The session stays in it for the next holder.

        Raises:
            OSError: The bucket does not answer.
        """
        self._ended.set()
        if self._thread:
            self._thread.join(5.0)
        found = read_holder(self._file)
        if found is None or found.session == self.holder.session:
            self.write(replace(self.holder, released=True))

    def write(self, holder: Holder) -> None:
        """Write a holder into the lease, even if another process holds it."""
        self._file.write_bytes(json.dumps(asdict(holder)).encode())


def take_lease(
    location: StoragePath,
    name: str,
    *,
    stale_seconds: float = STALE_SECONDS,
    settle_seconds: float = SETTLE_SECONDS,
    poll_seconds: float = POLL_SECONDS,
) -> Lease:
    """Take the lease of an experiment, and return it.

    This is quick, unless the holder is on another machine and may be alive.

    Raises:
        UserError: Another process holds it.
        OSError: The bucket does not answer.
    """
    file = location / LEASE_FILE
    found = read_holder(file)
    lease = Lease(location, _this_process(), last_session=found.session if found else None)
    if found is not None and not found.released:
        _check_dead(found, file, name, stale_seconds, poll_seconds)
    lease.write(lease.holder)
    time.sleep(settle_seconds)
    found = read_holder(file)
    if found is not None and found.session != lease.holder.session:
        raise UserError(f"{name} was taken at the same moment by {_describe(found)}: wait for its end, or stop it")
    return lease


def read_holder(file: StoragePath | Path) -> Holder | None:
    """Return the holder of a lease, or the last one if it was released; None if there is no lease.

    Raises:
        OSError: The bucket does not answer.
    """
    try:
        values: Any = json.loads(file.read_bytes())
        return Holder(**values)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # written by another version: treat it as none
        return None


def is_live(holder: Holder, silent_seconds: float, *, stale_seconds: float = STALE_SECONDS) -> bool:
    """Return whether a holder is alive, as far as this machine can tell."""
    if holder.released:
        return False
    if holder.machine == _machine():
        return _start_of(holder.pid) == holder.start
    return silent_seconds < stale_seconds


def _check_dead(found: Holder, file: StoragePath, name: str, stale_seconds: float, poll_seconds: float) -> None:
    """Check that the holder of a lease is dead. If it is on another machine, watch the lease for a while.

    Raises:
        UserError: The holder is alive.
    """
    if found.machine == _machine():
        is_alive = is_live(found, 0.0)
    else:
        before, silent = file.filesystem.get_file_info(file.path).mtime, _silent_seconds(file)
        if silent < stale_seconds:
            print(
                f"note: {name} is held by {_describe(found)}; waiting up to {stale_seconds - silent:.0f} s to see "
                "whether it is alive",
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
    """Return how many seconds ago a lease was renewed, by the bucket's clock."""
    clock = StoragePath(file.filesystem, f"{file.path}.clock")
    clock.write_bytes(b"now")
    now, then = (file.filesystem.get_file_info(one.path).mtime for one in (clock, file))
    clock.remove()
    return (now - then).total_seconds() if now and then else 0.0


def _describe(holder: Holder) -> str:
    return f"process {holder.pid} of {holder.host} since {holder.since}"


def _this_process() -> Holder:
    return Holder(
        session=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        machine=_machine(),
        start=_start_of(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _machine() -> str:
    """Return an id of this machine since it was booted, and of the process namespace: process ids are unique in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return f"{socket.gethostname()} {uuid.getnode()}"


def _start_of(pid: int) -> str:
    """Return when a process was started, as the system writes it; "" if there is no such process."""
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
