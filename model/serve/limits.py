"""How much the service works on at once, and how it declines the rest."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from data.errors import UserError


class ServeError(UserError):
    """The service cannot run as the command line asks."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits for one client, and for all clients together."""

    max_megabytes: int = 64
    """Size of the largest request, in MB of 10**6 bytes; a BraTS case of four modalities has about 10."""

    max_values: int = 2**26
    """Largest number of pixels times channels (voxels times modalities) in memory at once, of all requests together; a
    BraTS case has 36 million. A value takes up to about 45 bytes while it is prepared, so the default takes 3 GB; and
    up to 2 GB more where the network's slices are larger than those of the files."""

    max_requests: int = 32
    """Largest number of requests that run or wait at once; others are told to try again later (status 503)."""

    timeout_seconds: float = 60.0
    """Longest time that a client may take to send its request, and again to receive the answer."""

    def __post_init__(self) -> None:
        for name in ("max_megabytes", "max_values", "max_requests", "timeout_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise ServeError(f"{name} is {getattr(self, name)}, but must be above 0, and finite")

    @property
    def max_bytes(self) -> int:
        """Largest request, in bytes."""
        return self.max_megabytes * 10**6


class Refusal(Exception):
    """The reason why a request is declined, as a sentence for the client, with an HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Allowance:
    """An amount that threads share: each reserves a part of it, and waits until that part is free."""

    def __init__(self, total: int, what: str = "values (pixels x channels)") -> None:
        self.total = total
        self._what = what
        self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, amount: int) -> Iterator[None]:
        """Wait until an amount is free, and hold it until the `with` block ends.

        Raises:
            Refusal: The amount is larger than the whole allowance.
        """
        assert amount >= 0, f"reserving {amount} would free what others hold"
        if amount > self.total:
            raise Refusal(
                413, f"the request has {amount} {self._what}, but at most {self.total} are accepted; send less"
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
