"""A connection to the service: how long it may be silent, how many there may be, and what is answered to nonsense.

Each connection carries one request, so one timer for each is enough: first for the request's headers, then for the
answer. The time of a request's body is limited by the guard, which can still answer.
"""

import asyncio
import json

from uvicorn.protocols.http.h11_impl import H11Protocol

from model.serve.guard import HEADERS

HEADER_SECONDS = 10.0
"""Longest time in which a client may send the headers of its request; they take milliseconds."""

MAX_CONNECTIONS = 1024
"""Connections at once, of which each holds up to 128 KB of headers and body in memory."""

SILENT_SECONDS = 1.0
"""How long a connection is silent before it may be ended in favour of another one, when there are too many."""

CLOSING_SECONDS = 1.0
"""How long what follows nonsense is read and forgotten: a client that is still sending would not read the answer."""

MAX_HEADER_BYTES = 2**16
"""Largest first line and headers of a request."""

_REASONS = {400: "Bad Request", 503: "Service Unavailable"}


class TimedConnection(H11Protocol):
    """uvicorn's HTTP connection with limits on the time and the number of clients."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.made_at = self.loop.time()
        self._is_closing = False
        self._timer = self.loop.call_later(min(HEADER_SECONDS, self.timeout_keep_alive), self._end_without_request)
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            transport.abort()
        elif len(self.connections) > MAX_CONNECTIONS and not self._end_a_silent_one():
            self._answer(503, "too many clients are connected; try again later")

    def data_received(self, data: bytes) -> None:
        if not self._is_closing:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()  # it would keep the connection, and what it has received, in memory
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return whether a client that sends nothing more still waits for its answer, as its request is whole."""
        return self.cycle is not None and not self.cycle.more_body and not self._is_closing

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._timer.cancel()
        # `close` would wait until the client has taken the answer; `abort` does not, and ignores a closed connection.
        self._timer = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP; uvicorn's own method fails after the beginning of another answer."""
        if self.cycle is not None and self.cycle.response_started:
            self.transport.abort()
        else:
            self._answer(400, f"the request is not legal HTTP, or has headers of more than {MAX_HEADER_BYTES} bytes")

    def _answer(self, status: int, sentence: str) -> None:
        """Send an answer that belongs to no request, and end the connection."""
        content = json.dumps({"error": sentence}).encode()
        headers = HEADERS | {"Content-Type": "application/json", "Content-Length": str(len(content))}
        if status == 503:
            headers["Retry-After"] = "1"
        lines = (f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in headers.items()))
        if self.cycle is not None:
            self.cycle.disconnected = True  # what the application answers now is of no use
            self.cycle.message_event.set()
        self.transport.write("\r\n".join((*lines, "", "")).encode() + content)
        self.transport.write_eof()
        self._is_closing = True
        self._timer.cancel()
        self._timer = self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def _end_without_request(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def _end_a_silent_one(self) -> bool:
        """End the connection that has been silent longest, if one has been for some time; return whether one has."""
        latest = self.loop.time() - SILENT_SECONDS
        silent = [one for one in self.connections if isinstance(one, TimedConnection) and one.cycle is None]
        oldest = min(silent, key=lambda one: one.made_at)
        if oldest.made_at <= latest:
            oldest.transport.abort()
        return oldest.made_at <= latest
