"""Check each request at the border of the service: its token, its size, and the time that the client takes.

All checks are in one place and happen before a request is parsed, so that a new route cannot forget them. What
concerns a connection rather than a request is in model.serve.connection.
"""

import asyncio
import hmac
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from model.serve.limits import Limits, Refusal

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

GUARDED = "/predict"
"""The route whose requests need the token and count towards `max_requests`."""

LINGER_SECONDS = 5.0
"""How long the rest of a refused request is read: a client that is still sending would not read the answer."""

HEADERS = {
    "Connection": "close",
    "Cache-Control": "no-store",  # masks are patients' data
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

LOGGED = {
    "method": ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"),
    "path": ("/", "/docs", "/healthz", "/openapi.json", GUARDED),
}
"""What may appear in the log. A client chooses the rest of a request's first line, which may name a patient."""


class Guard:
    """An ASGI application behind the checks."""

    def __init__(self, app: App, limits: Limits, *, token: str | None, is_local: bool) -> None:
        self._app, self._limits = app, limits
        self._token = None if token is None else token.encode()
        self._is_local = is_local
        self._num_guarded = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        exchange = _Exchange(scope, receive, send, self._limits)
        is_guarded = scope["path"] == GUARDED
        try:
            self._check(scope, is_guarded)
        except Refusal as refusal:
            await refusal_response(refusal)(scope, exchange.receive, exchange.send)
            return
        self._num_guarded += is_guarded
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            # This happens only when the service ends. Without an answer, uvicorn would log a traceback.
            if not exchange.has_answer:
                await refusal_response(Refusal(503, "the service is ending"))(scope, exchange.receive, exchange.send)
        finally:
            self._num_guarded -= is_guarded

    def _check(self, scope: MutableMapping[str, Any], is_guarded: bool) -> None:
        headers = Headers(scope=scope)
        if self._is_local and self._token is None and not _is_local_name(headers.get("host", "")):
            # Otherwise another site could point its name at this machine and read the answers (DNS rebinding).
            host = headers.get("host", "")[:80]
            raise Refusal(400, f"the host is {host!r}, but this service is for this machine only")
        if is_guarded and self._token is not None:
            given = headers.get("authorization", "")
            scheme, _, token = given.partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
                raise Refusal(401, "a bearer token is needed (Authorization: Bearer TOKEN); it is missing or wrong")
        if (length := headers.get("content-length", "")).isdigit() and int(length[:20]) > self._limits.max_bytes:
            raise _too_large(self._limits)
        if is_guarded and self._num_guarded >= self._limits.max_requests:
            raise Refusal(503, f"{self._num_guarded} requests are running, which is the limit; try again later")


def refusal_response(refusal: Refusal) -> JSONResponse:
    """Return the answer to a request that is declined."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(refusal.status)
    return JSONResponse({"error": str(refusal)}, refusal.status, headers)


class _Exchange:
    """One request and its answer, with limits on their time and size."""

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, limits: Limits) -> None:
        self._scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self._began = time.monotonic()
        self._num_bytes = 0
        self.has_answer = False
        headers = Headers(scope=scope)
        self._is_read = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        """Return the next part of the request.

        Raises:
            Refusal: The request took too long or became too large.
        """
        left = self._began + self._limits.timeout_seconds - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), None if self._is_read else max(0, left))
        except TimeoutError:
            self._is_read = True  # the rest will not be read
            raise Refusal(408, f"the request took over {self._limits.timeout_seconds:g} s; send it faster") from None
        self._is_read = self._is_read or message["type"] == "http.disconnect" or not message.get("more_body")
        self._num_bytes += len(message.get("body", b""))
        if self._num_bytes > self._limits.max_bytes:
            raise _too_large(self._limits)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_answer = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            milliseconds = (time.monotonic() - self._began) * 1000
            logger.info("%s %s %s, %.0f ms", *map(self._logged, LOGGED), message["status"], milliseconds)
        elif not message.get("more_body") and not self._is_read:
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    def _logged(self, name: str) -> str:
        return self._scope[name] if self._scope[name] in LOGGED[name] else f"(another {name})"

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._is_read:
                    message = await self._receive()
                    self._is_read = message["type"] == "http.disconnect" or not message.get("more_body")
        except TimeoutError:
            self._is_read = True


def _too_large(limits: Limits) -> Refusal:
    return Refusal(413, f"the request has more than {limits.max_megabytes} MB, which is the limit; send less")


def _is_local_name(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name.lower().rstrip(".") == "localhost"
