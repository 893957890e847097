"""What the service takes on at once, and how it declines the rest."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class ServeError(ValueError):
    """What was asked on the command line cannot be served."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one client, and all of them together, may ask for."""

    max_megabytes: int = 64
    """Largest request, in MB of 10**6 bytes; a BraTS case of four modalities has about 10."""

    max_values: int = 2**26
    """Most pixels times channels (voxels times modalities) that are in memory at once, of all requests together; a
    BraTS case has 36 million. One takes up to about 45 bytes while it is prepared, the default thus 3 GB."""

    max_requests: int = 32
    """Requests that are worked on, or wait, at once; another one is told to come again (503)."""

    timeout_seconds: float = 60.0
    """How long a client may take to send its request, and then to receive the answer."""

    def __post_init__(self) -> None:
        for name in ("max_megabytes", "max_values", "max_requests", "timeout_seconds"):
            if not getattr(self, name) > 0:
                raise ServeError(f"{name} is {getattr(self, name)}, but must be above 0")

    @property
    def max_bytes(self) -> int:
        """Largest request, in bytes."""
        return self.max_megabytes * 10**6


class Refusal(Exception):
    """A request that is declined: an HTTP status, and a sentence for the client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Allowance:
    """An amount that threads share: each waits until its part is free."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def part(self, amount: int) -> Iterator[None]:
        """Hold an amount while the body runs.

        Raises:
            Refusal: It is more than there ever is.
        """
        assert amount >= 0, f"a part of {amount} would free what others hold"
        if amount > self.total:
            raise Refusal(
                413, f"{amount} values (pixels x channels) came, but at most {self.total} are taken; send less"
            )
        with self._changed:
            self._changed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
