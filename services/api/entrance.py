"""The one way in, before any route: the gate, headers that every answer carries, and counting."""

from collections.abc import Iterable
from email.utils import formatdate
from time import perf_counter
from typing import Final

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from services.api.door.cross_origin import PERMISSION, CrossOrigin
from services.api.door.gate import Gate, Knock
from services.api.faults import InvalidName, answer_to
from services.api.metrics import Meter
from services.errors import Rejected
from services.runtime.clock import Clock
from services.runtime.telemetry.context import joining

HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""What protects an answer in a browser; a route may say another of the same name."""
UNMATCHED: Final = "(none)"  # one label for all paths that no route has, however many are tried


class Entrance:
    """The application behind its gate."""

    def __init__(
        self, app: ASGIApp, gate: Gate, cross_origin: CrossOrigin, meter: Meter, clock: Clock
    ) -> None:
        self._app = app
        self._gate = gate
        self._cross_origin = cross_origin
        self._meter = meter
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the events of starting and stopping."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = 0
        knock = _knock(scope)
        told = self._cross_origin.headers(knock)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._completed([*message["headers"], *told])
            await send(message)

        try:
            if self._cross_origin.is_preflight(knock):
                self._gate.check(knock)
                await _permit(sending)
                return
            scope["state"]["caller"] = self._gate.admit(knock)
            _check_path(scope)
        except Rejected as refusal:
            await _refuse(refusal, sending)
        else:
            with joining(knock.headers.get("traceparent")):
                await self._app(scope, receive, sending)
        finally:
            route = scope.get("path_template") or UNMATCHED
            self._meter.count(scope["method"], route, status, perf_counter() - started)

    def _completed(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        given = list(headers)
        names = {name.lower() for name, _ in given}
        date = formatdate(self._clock.now() / 1_000_000, usegmt=True).encode()
        return [
            *given,
            (b"date", date),
            *((name, value) for name, value in HEADERS if name not in names),
        ]


async def _permit(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": PERMISSION})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _refuse(refusal: Rejected, send: Send) -> None:
    answer = answer_to(refusal)
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    headers.append((b"content-type", b"application/json"))
    body = msgspec.json.encode(answer.body())
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _check_path(scope: HTTPScope) -> None:
    """Refuse a slash within a name: decoded, it would be a step of another path."""
    if b"%2f" in scope["raw_path"].lower():
        raise InvalidName("a name cannot have a slash in it: choose another, for example with `-`")


def _knock(scope: HTTPScope) -> Knock:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    client = scope["client"]
    return Knock(scope["method"], scope["path"], headers, client[0] if client else "")
