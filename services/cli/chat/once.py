"""Say something and wait until the conversation has settled: for `-m`, scripts and pipes."""

import queue
import sys
from collections.abc import Callable
from http.client import HTTPException
from time import monotonic, sleep
from typing import Final

from services.cli import output
from services.cli.chat import lines
from services.cli.chat.conversation import Conversation, new_message_id
from services.cli.chat.following import FOUND, LOST, REFUSED, Following
from services.cli.chat.told import Event
from services.cli.exits import FAILED, OK
from services.cli.http import Unreachable
from services.errors import Rejected
from services.runtime.clock import SystemClock

RESEND_S: Final = 1.0  # between tries to send where the answer to the first was lost
LOST_ON_THE_WAY: Final = (ConnectionResetError, BrokenPipeError, TimeoutError, HTTPException)
AWAY_S: Final = 30.0  # an installation that is restarted is back by then


class Exchange:
    """Messages sent one after the other, each until its conversation has settled."""

    def __init__(
        self, conversation: Conversation, *, timeout_s: float, as_json: bool, drafts: bool
    ) -> None:
        self._conversation = conversation
        self._timeout_s = timeout_s
        self._as_json = as_json
        self._drafts = drafts
        """Whether replies are shown while they are being written."""
        self._draft = ""
        self._failed = False
        self._lost_at: float | None = None

    def say(self, text: str) -> int:
        """Send `text`, print what comes back, and return the exit code once nothing runs.

        Raises:
            Unreachable: nothing listens there, or the answer stayed away.
            Rejected: the message is refused.
        """
        deadline = monotonic() + self._timeout_s
        seq = self._send(text, deadline)
        if self._as_json:
            output.line({"event": "sent", "seq": seq})
        return self.follow(seq, deadline)

    def follow(self, seq: int, deadline: float) -> int:
        """Print what comes behind a sequence, and return the exit code once nothing runs.

        Args:
            seq: The conversation has not settled before it.
            deadline: Until when to wait, as `time.monotonic` counts.
        """
        self._failed = False
        told: queue.Queue[Event] = queue.Queue()
        with Following(self._conversation, seq, told.put):
            settled = self._print_until_settled(told.get, seq, deadline)
        self._end_draft()
        if not settled:
            self._say_what_runs()
        return OK if settled and not self._failed else FAILED

    def _send(self, text: str, deadline: float) -> int:
        """Send; where an answer is lost, again under the same id, which stores it once."""
        message_id = new_message_id()
        given_up = min(monotonic() + AWAY_S, deadline)
        may_be_there = False
        while True:
            try:
                return self._conversation.say(text, message_id)
            except Unreachable as error:
                may_be_there |= isinstance(error.__cause__, LOST_ON_THE_WAY)
                if not may_be_there or monotonic() > given_up:
                    raise
            sleep(RESEND_S)

    def _print_until_settled(
        self, get: Callable[[bool, float], Event], seq: int, deadline: float
    ) -> bool:
        self._lost_at = None
        while (left := deadline - monotonic()) > 0:
            try:
                event = get(True, min(left, 1.0))
            except queue.Empty:
                self._give_up_when_away()
                continue
            self._print(event)
            if event.name == "settled" and event.told.seq >= seq:
                return True
        return False

    def _give_up_when_away(self) -> None:
        if self._lost_at is not None and monotonic() - self._lost_at > AWAY_S:
            raise Unreachable(
                f"{self._conversation.client.url} is away for {AWAY_S:g} s; what you sent is kept, "
                "and is answered when it is back"
            )

    def _print(self, event: Event) -> None:
        match event.name:
            case "delta":
                self._show_delta(event)
                return
            case "turn_failed":
                self._failed = True
            case "turn_completed":
                self._end_draft()
            case name if name == REFUSED:
                raise Rejected(event.told.text)
        if event.name in {LOST, FOUND}:
            self._lost_at = monotonic() if event.name == LOST else None
        if self._as_json:
            output.line({"event": event.name, "data": event.told})
        elif event.name in {LOST, FOUND}:
            self._end_draft()
            _remark("the connection broke; trying again" if event.name == LOST else "connected")
        elif event.name == "turn_failed":
            self._end_draft()
            _remark(lines.happened(event.name, event.told) or "")
        elif (text := lines.said(event, self._address())) is not None:
            self._show_whole(text)

    def _address(self) -> str:
        return f"{self._conversation.client.url}{self._conversation.path}"

    # -- drafts: what can be read of a reply before it is there --------------------------------

    def _show_delta(self, event: Event) -> None:
        if not self._drafts:
            return
        if event.told.reset:
            self._end_draft()
        piece = output.visible(event.told.text)
        self._draft += piece
        sys.stdout.write(piece)
        sys.stdout.flush()

    def _show_whole(self, text: str) -> None:
        """Print a reply, or what is missing of it where it was drafted."""
        if self._draft and text.startswith(self._draft):
            print(text[len(self._draft) :], flush=True)
            self._draft = ""
            return
        self._end_draft()
        print(text, flush=True)

    def _end_draft(self) -> None:
        if self._draft:
            print(flush=True)
            self._draft = ""

    def _say_what_runs(self) -> None:
        _remark(f"not settled after {self._timeout_s:g} s:")
        for line in lines.standing(self._conversation.state(), SystemClock().now()):
            _remark(line)


def _remark(text: str) -> None:
    sys.stderr.write(f"{output.visible(text)}\n")
    sys.stderr.flush()
