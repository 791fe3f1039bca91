"""What a request shows, told apart: who said what, what came back, what is running, what was done.

Reads these shapes: `[name] text` said by somebody, `[result of worker w1] (succeeded)` and lines,
`[task] text` given to a branch or worker, `[status]` and lines `- worker w1: task | status | ...`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from services.runtime.model import Message

STATUS: Final = "[status]"
TASK: Final = "[task]"
NOTES: Final = ("[checkpoints]", "[note]", "[nudge]", "[repair]", "[limit]", "[system]")
"""What the run loop itself says to a model; the rules need no such help."""

_RESULT: Final = re.compile(
    r"^\[result of (?P<kind>branch|worker) (?P<id>[^\]]+)\](?: \((?P<outcome>\w+)\))?\n?"
)
_DONE: Final = re.compile(
    r"^\[(?:you (?:started branch|told worker|sent the file|reacted with)|worker \S+ was started"
    r"|a stop was asked of)[^\]\n]*\] "
)
"""What the conversation shows as done by us, or asked of us: nobody's words."""
_SAID: Final = re.compile(r"^\[(?P<author>[^\]\n]{1,80})\] ?(?P<text>.*)$")
_RUN: Final = re.compile(r"^- (?P<kind>worker|branch) (?P<id>\S+?): (?P<rest>.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Said:
    """Something that a person said."""

    text: str
    author: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a branch or a worker came to."""

    kind: str
    run_id: str
    outcome: str
    """Empty for a branch."""
    text: str


@dataclass(frozen=True, slots=True)
class Running:
    """A branch or worker that has not ended."""

    kind: str
    run_id: str
    task: str
    status: str

    @property
    def waits(self) -> bool:
        """Whether it is an interactive worker that wants input."""
        return "waiting" in self.status.lower()


@dataclass(frozen=True, slots=True)
class Done:
    """A tool call that has its result."""

    tool: str
    output: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """A request as the rules see it."""

    fresh: tuple[Said | Result, ...]
    """What came since we last spoke or acted."""
    done: tuple[Done, ...]
    """What we have done about what came before, oldest first."""
    running: tuple[Running, ...]
    task: str = ""
    """Branches and workers: what is to be done, or the latest input to it."""


def of_turn(messages: Sequence[Message]) -> Transcript:
    """Return the transcript of a conversation."""
    spoken = _spoken(messages)
    last = _last_of_ours(spoken)
    fresh = [entry for message in spoken[last + 1 :] for entry in _entries(message)]
    if not fresh and not (spoken and spoken[-1].role == "tool"):
        # A turn has a cause. It was said while we last spoke, and stands before our words.
        said = [message for message in spoken if message.role == "user"]
        fresh = list(_entries(said[-1]))[-1:] if said else []
    return Transcript(fresh=tuple(fresh), done=_done(spoken), running=_running(messages))


def of_run(messages: Sequence[Message]) -> Transcript:
    """Return the transcript of a branch or worker, whose task stands after the conversation."""
    spoken = _spoken(messages)
    tasks = [at for at, message in enumerate(spoken) if _is(message, TASK)]
    own = spoken[tasks[-1] :] if tasks else spoken
    inputs = [message.content for message in own if message.role == "user"]
    task = inputs[-1] if inputs else ""
    return Transcript(
        fresh=(), done=_done(own), running=(), task=_without_tag(task.removeprefix(TASK).strip())
    )


def _spoken(messages: Sequence[Message]) -> list[Message]:
    return [
        message
        for message in messages
        if message.role != "system"
        and not _is(message, STATUS, *NOTES)
        and not (message.role == "user" and _DONE.match(message.content))
    ]


def _is(message: Message, *tags: str) -> bool:
    return message.role == "user" and message.content.startswith(tags)


def _last_of_ours(spoken: Sequence[Message]) -> int:
    return max((at for at, message in enumerate(spoken) if message.role == "assistant"), default=-1)


def _entries(message: Message) -> Iterator[Said | Result]:
    """Yield what one message holds: one result, or each line that begins with a name."""
    if message.role != "user":
        return
    if found := _RESULT.match(message.content):
        text = message.content[found.end() :]
        yield Result(found["kind"], found["id"], found["outcome"] or "", text.strip())
        return
    author: str | None = None
    lines: list[str] = []
    for line in message.content.split("\n"):
        if found := _SAID.match(line):
            if lines:
                yield Said("\n".join(lines).strip(), author)
            author, lines = found["author"], [found["text"]]
        else:
            lines.append(line)
    if text := "\n".join(lines).strip():
        yield Said(text, author)


def _done(spoken: Sequence[Message]) -> tuple[Done, ...]:
    """Return the calls since the last message of somebody else, with their results."""
    start = max((at for at, message in enumerate(spoken) if message.role == "user"), default=-1)
    names: dict[str, str] = {}
    done: list[Done] = []
    for message in spoken[start + 1 :]:
        names |= {call.id: call.name for call in message.tool_calls}
        if message.role == "tool":
            done.append(Done(names.get(message.tool_call_id or "", ""), message.content))
    return tuple(done)


def _running(messages: Sequence[Message]) -> tuple[Running, ...]:
    notes = [message.content for message in messages if _is(message, STATUS)]
    return tuple(
        Running(found["kind"], found["id"], task.strip(), status.replace(" | ", ", ").strip())
        for found in _RUN.finditer(notes[-1] if notes else "")
        for task, _, status in [found["rest"].partition(" | ")]
    )


def _without_tag(text: str) -> str:
    return re.sub(r"^\[(input|message)[^\]\n]*\]\s*", "", text)
