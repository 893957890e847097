"""A moment that can be compared with now on every machine, also if a clock is set meanwhile."""

import time
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """A moment on the monotonic clock of the machine that made it, and on the wall clock for all others.

    All processes of a machine share its monotonic clock. It goes on when somebody sets the time, and stands still while
    the machine sleeps.
    """

    machine: str
    """Id of the machine since it was booted; "" where the system has none."""

    monotonic: float
    wall: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the moment so many seconds from now; it may lie in the past."""
        return cls(machine=_machine(), monotonic=time.monotonic() + seconds, wall=time.time() + seconds)

    @property
    def has_passed(self) -> bool:
        """Whether the moment is over."""
        if self.machine and self.machine == _machine():
            return time.monotonic() > self.monotonic
        return time.time() > self.wall


def _machine() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:  # not Linux
        return ""
