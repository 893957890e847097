"""Wait for something that another thread or process does soon."""

import time
from collections.abc import Callable


def wait_until(happened: Callable[[], object], *, seconds: float = 60.0, poll_seconds: float = 0.05) -> None:
    """Return once something has happened; fail if it does not happen in time."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:.0f} s"
        time.sleep(poll_seconds)
