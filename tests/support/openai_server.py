"""A model server of ours whose answers, delays and faults a test scripts.

Serves:  POST /v1/chat/completions (whole or streamed), GET /v1/models,
         streamed only: POST /v1/responses, POST /v1/messages (Anthropic's), Gemini's route
Control: GET /calls, GET /counts, POST /scripts (a JSON list), for tests in another process
Run:     python -m tests.support.openai_server --port 8000 [--script FILE] [--delay-ms 50]

With no script left it asks its brain; run as a process, that is the offline model's rules, so that
a whole Penstock can be driven over the real HTTP path without a real model.
"""

import argparse
import asyncio
import contextlib
import hashlib
import re
import signal
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Self

import msgspec

from schemas.run import ToolCall
from services.runtime.model import Message, ModelRequest, ToolSpec
from services.runtime.offline.model import accepted, decide
from tests.support import anthropic_wire, gemini_wire, openai_wire, responses_wire
from tests.support.scripts import SCRIPTS, Answer, Brain, Fault, Script

Json = dict[str, Any]

WIRES: dict[str, Any] = {
    "/v1/chat/completions": openai_wire,
    "/v1/responses": responses_wire,
    "/v1/messages": anthropic_wire,
    "/models/gemini-3.8-flash:streamGenerateContent": gemini_wire,
}


class Call(msgspec.Struct, kw_only=True):
    """One request for an answer."""

    at: float
    """`time.monotonic()` when its last byte had arrived; the same clock for every process here."""
    key: str
    body: Json
    headers: dict[str, str]
    connection: int
    """Counts connections from 1, to see whether a client reuses them."""
    answered: bool = False
    """The whole answer was written."""
    abandoned: bool = False
    """The client left before that."""


def request_key(body: Json) -> str:
    """Return what makes a request the same one: `key=...` in its newest message that has one."""
    messages = body.get("messages") or body.get("input") or body.get("contents") or []
    for message in reversed(messages):
        if found := re.findall(r"\bkey[=:]\s*([\w.-]+)", str(message.get("content") or "")):
            return str(found[-1])
    return hashlib.sha256(msgspec.json.encode(messages)).hexdigest()


class OpenAIServer:
    """The server; use it as an async context manager, or `start` and `stop` it."""

    def __init__(self, brain: Brain | None = None, *, port: int = 0) -> None:
        self.scripts: deque[Script] = deque()
        """What the next requests get, in order; then the brain is asked."""
        self.calls: list[Call] = []
        self.wires = dict(WIRES)
        self.brain = brain or (lambda _: Answer(text="Hello from the test server."))
        self._port = port
        self._connections = 0
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Condition()

    @property
    def origin(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The value of `OPENAI_API_BASE`."""
        return f"{self.origin}/v1"

    @property
    def counts(self) -> Counter[str]:
        """Whole answers by request key: above 1 means that one was paid for twice."""
        return Counter(call.key for call in self.calls if call.answered)

    def will(self, *scripts: Script) -> None:
        """Queue what the next requests get."""
        self.scripts.extend(scripts)

    async def called(self, times: int) -> None:
        """Wait until so many requests have arrived in all."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.calls) >= times)

    async def abandoned(self, times: int) -> None:
        """Wait until clients have left so many requests before their answer was whole."""
        async with self._changed:
            await self._changed.wait_for(lambda: sum(x.abandoned for x in self.calls) >= times)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection; answers under way are cut."""
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        try:
            await self._serve(reader, writer, self._connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, a script cut the connection, or `stop` did
        finally:
            self._handlers.discard(handler)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        while head := await _head(reader):
            method, path, headers = head
            raw = await reader.readexactly(int(headers.get("content-length", "0")))
            if wire := self.wires.get(path):
                body = msgspec.json.decode(raw)
                call = Call(
                    at=time.monotonic(),
                    key=request_key(body),
                    body=body,
                    headers=headers,
                    connection=connection,
                )
                await self._answer(reader, writer, wire, call)
            else:
                _send(writer, *self._control(method, path, raw))
            await writer.drain()

    def _control(self, method: str, path: str, raw: bytes) -> tuple[int, object]:
        match method, path:
            case "GET", "/v1/models":
                return 200, {"object": "list", "data": [{"id": "test", "object": "model"}]}
            case "GET", "/calls":
                return 200, self.calls
            case "GET", "/counts":
                return 200, self.counts
            case "POST", "/scripts":
                self.will(*SCRIPTS.decode(raw))
                return 200, {"queued": len(self.scripts)}
        return 404, {"error": {"message": f"no {path}"}}

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: Any, call: Call
    ) -> None:
        """Carry the script out, and stop when the client leaves."""
        self.calls.append(call)
        await self._notify()
        script = self.scripts.popleft() if self.scripts else self.brain(call.body)
        answering = asyncio.ensure_future(_carry_out(writer, wire, script, call))
        leaving = asyncio.ensure_future(_left(reader))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            call.abandoned = not answering.done()
            await self._notify()
        finally:
            leaving.cancel()
            answering.cancel()
            await asyncio.wait({answering, leaving})
        if call.abandoned:
            raise ConnectionResetError
        await answering

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def _carry_out(writer: asyncio.StreamWriter, wire: Any, script: Script, call: Call) -> None:
    if script.first_after_s:
        await asyncio.sleep(script.first_after_s)
    streams = call.body.get("stream") or wire is gemini_wire
    if isinstance(script, Fault):
        extra = {"retry-after": script.retry_after} if script.retry_after else {}
        _send(writer, script.status, wire.error(script), extra)
    elif streams:
        call.answered = await _stream(writer, wire, script, call.body)
    else:
        _send(writer, 200, wire.whole(script, call.body))
        call.answered = True


async def _left(reader: asyncio.StreamReader) -> None:
    """Return when the client has closed its side. It sends nothing else while it waits."""
    await reader.read()


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]] | None:
    """Return method, path and headers of the next request, or None at the end."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    request, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = request.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return method, target.partition("?")[0], headers


def _send(
    writer: asyncio.StreamWriter, status: int, body: object, extra: dict[str, str] | None = None
) -> None:
    raw = msgspec.json.encode(body)
    head = {"content-type": "application/json", "content-length": str(len(raw)), **(extra or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode() + raw)


async def _stream(writer: asyncio.StreamWriter, wire: Any, script: Answer, body: Json) -> bool:
    """Write an answer as server-sent events; return whether it was written to its end."""
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    for sent, event in enumerate(wire.pieces(script, body)):
        if sent == script.cut_after:
            await writer.drain()
            raise ConnectionResetError
        if sent == script.hang_after:
            await asyncio.Event().wait()
        if sent == script.stop_after:
            _end(writer)
            return False
        _chunk(writer, event)
        if script.between_s:
            await asyncio.sleep(script.between_s)
    for event in wire.ending(script, body):
        _chunk(writer, event)
    _end(writer)
    return True


def _chunk(writer: asyncio.StreamWriter, raw: bytes) -> None:
    writer.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")


def _end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"0\r\n\r\n")


def rules(body: Json) -> Answer:
    """Answer as the offline model would, to be used as a brain over the real HTTP path."""
    tools = tuple(
        ToolSpec(
            name=tool["function"]["name"],
            description=tool["function"].get("description", ""),
            parameters=tool["function"].get("parameters", {}),
        )
        for tool in body.get("tools") or ()
    )
    names = {tool.name for tool in tools}
    kind = "worker" if "shell" in names else "branch" if "memory_save" in names else "turn"
    messages = tuple(_message(message) for message in body["messages"])
    step = decide(ModelRequest(model=body["model"], messages=messages, tools=tools, kind=kind))
    specs = {tool.name: tool for tool in tools}
    calls = tuple(
        (name, msgspec.json.encode(accepted(specs[name], arguments)).decode())
        for name, arguments in step.calls
    )
    return Answer(text=step.text, tool_calls=calls)


def _message(message: Json) -> Message:
    calls = tuple(
        ToolCall(
            id=call["id"],
            name=call["function"]["name"],
            arguments=call["function"]["arguments"],
        )
        for call in message.get("tool_calls") or ()
    )
    return Message(
        role=message["role"],
        content=message.get("content") or "",
        tool_calls=calls,
        tool_call_id=message.get("tool_call_id"),
    )


def main() -> None:
    """Serve until SIGINT or SIGTERM; prints the value of `OPENAI_API_BASE` once it listens."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--script", default="brain", help="`brain`, or a file with a JSON list")
    parser.add_argument(
        "--delay-ms", type=float, default=0.0, help="before each answer of the brain"
    )
    options = parser.parse_args()
    queued = []
    if options.script != "brain":
        queued = SCRIPTS.decode(Path(options.script).read_bytes())
    asyncio.run(_serve(options.port, queued, delay_s=options.delay_ms / 1_000))


async def _serve(port: int, queued: list[Script], *, delay_s: float) -> None:
    def brain(body: Json) -> Script:
        return msgspec.structs.replace(rules(body), first_after_s=delay_s)

    server = OpenAIServer(brain, port=port)
    server.will(*queued)
    await server.start()
    print(server.url, flush=True)
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await stop.wait()
    await server.stop()


if __name__ == "__main__":
    main()
