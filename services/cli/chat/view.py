"""What a person sees of a conversation at a moment: the draft of a reply, and what runs."""

from typing import Final

from services.cli import output
from services.cli.chat.following import FOUND, LOST
from services.cli.chat.told import Event, State, Told

FRAMES: Final = "|/-\\"
FRAME_US: Final = 500_000  # microseconds that a frame of the wheel stands
MOST: Final = 2  # runs described; the others are counted


class Work:
    """A branch or a worker that has not ended."""

    def __init__(self, kind: str, task: str, since: int) -> None:
        self.kind = kind
        self.task = task
        self.status = ""
        self.waiting = False
        self.since = since
        """UTC microseconds; 0 while not known."""


class View:
    """Fold of the events of a stream, for one pair of eyes."""

    def __init__(self) -> None:
        self.draft = ""
        self.connected = True
        self._turn: str | None = None
        self._turn_since = 0
        self._work: dict[str, Work] = {}

    def take_state(self, state: State) -> None:
        """Begin with how the conversation stands."""
        if state.turn is not None:
            self._turn, self._turn_since = state.turn.turn_id, state.turn.started_at
        for run in state.runs:
            work = Work(run.kind, run.task, run.started_at)
            work.status, work.waiting = run.status or "", run.waiting
            self._work[run.run_id] = work

    def take(self, event: Event) -> None:
        """Take in the next event."""
        told = event.told
        match event.name:
            case "delta":
                self.draft = told.text if told.reset else self.draft + told.text
            case "reply":
                self.draft = ""
            case "turn_started" | "turn_resumed":
                self.draft = ""
                self._turn, self._turn_since = told.turn_id, told.at
            case "turn_completed" | "turn_failed":
                self.draft, self._turn = "", None
            case "branch_requested":
                self._work[told.run_id] = Work("branch", told.text, told.at)
            case "worker_requested":
                self._work[told.run_id] = Work("worker", told.text, told.at)
            case "branch_concluded" | "worker_concluded":
                self._work.pop(told.run_id, None)
            case "status_set" | "worker_reported" | "input_routed":
                self._change(event.name, told)
            case name if name in {LOST, FOUND}:
                self.connected = name == FOUND
            case "settled":
                self._settle()
            case _:
                pass

    def _change(self, name: str, told: Told) -> None:
        work = self._work.get(told.run_id)
        if work is None:
            return
        if name == "status_set":
            work.status = told.text
        else:
            work.waiting = name == "worker_reported"

    def _settle(self) -> None:
        """Nothing runs but what waits for input."""
        self.draft, self._turn = "", None
        self._work = {id_: work for id_, work in self._work.items() if work.waiting}

    def bar(self, now: int) -> str:
        """Return the line below: what runs, and for how long."""
        if not self.connected:
            return f"{_wheel(now)} the connection broke; trying again"
        parts = []
        if self._turn is not None:
            parts.append(f"{_wheel(now)} answering {_for(self._turn_since, now)}")
        for id_, work in list(self._work.items())[:MOST]:
            what = output.one_line(work.status or work.task, 48)
            doing = "waits" if work.waiting else _for(work.since, now)
            parts.append(f"{work.kind} …{id_[-4:]} {doing}: {what}")
        if len(self._work) > MOST:
            parts.append(f"{len(self._work) - MOST} more")
        return "  |  ".join(parts) or "ready"


def _wheel(now: int) -> str:
    return FRAMES[now // FRAME_US % len(FRAMES)]


def _for(since: int, now: int) -> str:
    return f"{max(0, now - since) // 1_000_000} s" if since else ""
