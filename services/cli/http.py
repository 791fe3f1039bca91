"""A small client of the HTTP interface, on the standard library: nothing else starts as fast."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from services.cli.exits import NotRunning
from services.errors import Rejected, Transient

TIMEOUT_S: Final = 30.0  # for one answer
SILENCE_S: Final = 40.0  # for the next line of a stream, which says something every 15 s


class Unreachable(NotRunning, Transient):
    """Nothing answers there, or the connection broke."""


class Client:
    """Talks to one installation; a connection for each call, so threads may share it."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port
        self._path = parts.path.rstrip("/")
        self._token = token
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{self._path}"

    @classmethod
    def at(cls, host: str, port: int, token: str | None) -> "Client":
        """Return a client of an interface on this machine."""
        return cls(f"http://{f'[{host}]' if ':' in host else host}:{port}", token)

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON of any shape
        """Return the JSON that a GET answers with; see `_request` for what it raises."""
        with self._request("GET", path, timeout_s=TIMEOUT_S) as response:
            return _json(response.read())

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON of any shape
        """Return the JSON that a POST answers with; see `_request` for what it raises."""
        encoded = msgspec.json.encode(body)
        with self._request("POST", path, encoded, timeout_s=TIMEOUT_S) as response:
            return _json(response.read())

    def lines(self, path: str, *, after: int | None, opened: "Opened") -> Iterator[str]:
        """Yield the lines of an event stream until it ends, breaks, or `opened.close()`.

        Args:
            path: Where the stream is.
            after: Sequence of the last event seen, None for from now on.
            opened: Is told of the connection, so that another thread can close it.
        """
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        with self._request(
            "GET", path, timeout_s=SILENCE_S, headers=headers, opened=opened
        ) as response:
            for line in response:
                yield line.decode(errors="replace").rstrip("\r\n")

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout_s: float,
        headers: dict[str, str] | None = None,
        opened: "Opened | None" = None,
    ) -> Iterator[HTTPResponse]:
        """Lend the answer.

        Raises:
            Unreachable: nothing answers in time, or the connection breaks.
            Rejected: it answers, and refuses; says why in its own words.
        """
        kind = HTTPSConnection if self._secure else HTTPConnection
        connection = kind(self._host, self._port, timeout=timeout_s)
        try:
            connection.request(method, self._path + path, body, self._headers(body, headers))
            if opened is not None and connection.sock is not None:
                opened.connection = connection.sock
            response = connection.getresponse()
            if response.status >= 400:
                raise _refusal(response)
            yield response
        except (OSError, HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"{self.url} does not answer: {reason}") from error
        finally:
            connection.close()

    def _headers(self, body: bytes | None, more: dict[str, str] | None) -> dict[str, str]:
        headers = {"Accept": "application/json", **(more or {})}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


class Opened:
    """A connection that another thread reads from."""

    def __init__(self) -> None:
        self.connection: socket.socket | None = None

    def close(self) -> None:
        """End the reading thread's wait."""
        if self.connection is not None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


def _refusal(response: HTTPResponse) -> Rejected | Unreachable:
    raw = response.read(65_536)
    try:
        answer = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        answer = None
    fault = answer.get("error") if isinstance(answer, dict) else None
    said = fault.get("message") if isinstance(fault, dict) else None
    text = str(said or f"{response.status} {response.reason}")
    if response.status == 401:
        return Rejected(f"{text}; the command line takes it from PENSTOCK_TOKEN")
    kind = Unreachable if response.status in {502, 503, 504} else Rejected
    return kind(text)


def _json(raw: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError:
        return None
