"""An HTTP interface in a thread whose answers a test scripts: for clients of ours."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

HELLO = "retry: 1000\n\n"


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: object


@dataclass
class Interface:
    """What was asked, and what is answered."""

    asked: list[Asked] = field(default_factory=list)
    answers: deque[tuple[int, object]] = field(default_factory=deque)
    """Status and JSON of the next answers, 0 for none at all; then 200 and `{}`."""
    streams: deque[list[str]] = field(default_factory=deque)
    """The chunks of each connection to a stream, which ends behind them."""
    exhausted: threading.Event = field(default_factory=threading.Event)
    """Set when a stream is asked for and none is left; that one stays silent."""
    closing: threading.Event = field(default_factory=threading.Event)
    url: str = ""


def told(name: str, seq: int | None = None, **data) -> str:
    """Return one event of a stream."""
    id_ = "" if seq is None else f"id: {seq}\n"
    return f"{id_}event: {name}\ndata: {msgspec.json.encode(data).decode()}\n\n"


@contextmanager
def interface() -> Iterator[Interface]:
    """Serve on loopback."""
    state = Interface()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = msgspec.json.decode(self.rfile.read(length)) if length else None
            state.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            if "/stream" in self.path:
                self._stream()
                return
            status, answer = state.answers.popleft() if state.answers else (200, {})
            if not status:
                self.close_connection = True
                return
            raw = msgspec.json.encode(answer)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            if not state.streams:
                state.exhausted.set()
                state.closing.wait(30)
                return
            for chunk in [HELLO, *state.streams.popleft()]:
                self.wfile.write(chunk.encode())
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
