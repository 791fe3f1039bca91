"""Follow a conversation in a thread, through restarts of whoever tells about it."""

import threading
from collections.abc import Callable, Iterator
from typing import Final, Self

from services.cli.chat.conversation import Conversation
from services.cli.chat.told import Event, Told, events
from services.cli.http import Opened, Unreachable
from services.errors import ServiceError

AGAIN_S: Final = (0.2, 0.5, 1.0, 2.0)  # before each try to connect again, then every 2 s

LOST: Final = "lost"  # the connection broke; it is made again
FOUND: Final = "found"  # it is back
REFUSED: Final = "refused"  # it will not be let in again; nothing follows


class Following:
    """A thread that hands every event on, in order, each recorded one once."""

    def __init__(
        self, conversation: Conversation, after: int, on_event: Callable[[Event], None]
    ) -> None:
        self._conversation = conversation
        self._after = after
        self._on_event = on_event
        self._closing = threading.Event()
        self._opened = Opened()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="following", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._opened.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._read()
            except Unreachable:
                pass  # tried again below
            except ServiceError as error:
                self._on_event(Event(REFUSED, Told(text=str(error))))
                return
            if self._closing.is_set():
                return
            if self._failures == 0:
                self._on_event(Event(LOST, Told()))
            self._closing.wait(AGAIN_S[min(self._failures, len(AGAIN_S) - 1)])
            self._failures += 1

    def _read(self) -> None:
        """Hand on one connection's events, to its end."""
        path = f"{self._conversation.path}/stream"
        lines = self._conversation.client.lines(path, after=self._after, opened=self._opened)
        for event in events(self._noticed(lines)):
            if event.name == "restarted":
                self._after = 0
            if event.seq is not None:
                if event.seq <= self._after:
                    continue
                self._after = event.seq
            self._on_event(event)

    def _noticed(self, lines: Iterator[str]) -> Iterator[str]:
        """Say that the connection is back as soon as anything comes."""
        for line in lines:
            if self._failures:
                self._failures = 0
                self._on_event(Event(FOUND, Told()))
            yield line
