"""Many clients of the service at once, each request over a connection of its own."""

import asyncio
import itertools
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MAX_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a request."""

    status: int
    """Of the answer; 0 if the connection ended without one."""

    seconds: float
    head: str = ""
    body: bytes = b""

    @property
    def is_whole(self) -> bool:
        """Whether the answer is as long as its head says."""
        return f"\r\ncontent-length: {len(self.body)}\r\n" in f"{self.head}\r\n"


def request(path: str, body: bytes, kind: str) -> bytes:
    """Return the bytes of a POST request."""
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + body


def send_all(port: int, requests: Sequence[bytes], *, num_clients: int) -> list[Outcome]:
    """Return the outcome of each request, sent by clients that begin at once and share the requests evenly.

    A client sends its next request when it has the answer to the last one, and does not repeat one that is refused.
    """

    async def client(number: int) -> list[Outcome]:
        return [await _ask(port, one) for one in requests[number::num_clients]]

    async def clients() -> list[list[Outcome]]:
        return await asyncio.gather(*map(client, range(num_clients)))

    return [one for found in asyncio.run(clients()) for one in found]


def count_statuses(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many requests had each status, 0 for those without an answer."""
    return {str(status): count for status, count in sorted(Counter(one.status for one in outcomes).items())}


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Return the memory that a process uses, or with VmHWM the most that it has used since `forget_peak`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def forget_peak(pid: int) -> None:
    """Let VmHWM begin anew."""
    fd = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY)
    try:
        os.write(fd, b"5")
    finally:
        os.close(fd)


@contextmanager
def unceasing(port: int, requests: Sequence[bytes], *, num_clients: int) -> Iterator[list[tuple[int, Outcome]]]:
    """Let clients send the requests over and over until the `with` block ends, whatever comes of them.

    Yield the growing list of outcomes, each with the number of its request.
    """
    found: list[tuple[int, Outcome]] = []
    is_over = threading.Event()

    async def client(first: int) -> None:
        for step in itertools.count(first):
            if is_over.is_set():
                return
            number = step % len(requests)
            outcome = await _ask(port, requests[number])
            found.append((number, outcome))
            await asyncio.sleep(0 if outcome.status == 200 else 0.05)  # refused clients alone would fill a core

    async def clients() -> None:
        await asyncio.gather(*map(client, range(num_clients)))

    thread = threading.Thread(target=lambda: asyncio.run(clients()))
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


async def _ask(port: int, content: bytes) -> Outcome:
    began = time.perf_counter()
    answer = b""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(MAX_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(content)
                while part := await reader.read(2**16):
                    answer += part
            finally:
                writer.transport.abort()
    seconds = time.perf_counter() - began
    head, _, body = answer.partition(b"\r\n\r\n")
    if not re.match(rb"HTTP/1\.1 \d{3}", head):
        return Outcome(status=0, seconds=seconds)
    return Outcome(status=int(head[9:12]), seconds=seconds, head=head.decode("latin-1").lower(), body=body)
