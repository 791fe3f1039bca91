"""What stands for the world in a replay: it answers from the recording and does nothing."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

import msgspec

from schemas.base import RunId
from schemas.cortex import BriefingWritten
from schemas.run import ModelFailed, ModelReturned, RunResumed, ToolCall, ToolReturned
from schemas.subjects import Subject
from services.cli.replaying.past import AttemptOver, Past
from services.cli.replaying.recording import Recording
from services.errors import ContextOverflow, ModelRefused, ModelUnavailable
from services.runtime import ids
from services.runtime.agents import Agent, Agents, config_subject
from services.runtime.bodies import text_of
from services.runtime.briefings import Briefings, subject_of
from services.runtime.conversation import EVERYTHING
from services.runtime.conversations import Conversations
from services.runtime.event_log import EventLog, Recorded
from services.runtime.model import ModelAnswer, ModelRequest, OnDelta
from services.runtime.tool import Tool, ToolOutput

_FAILURES: Final = {
    "unavailable": ModelUnavailable,
    "refused": ModelRefused,
    "overflow": ContextOverflow,
}
_WARNING: Final = re.compile(r"\n\nNote: this (is the same call|call has given)[^\n]*\.\Z")
BRIEFINGS: Final = 5  # a turn may have been shown one that was no longer the newest
SUPERSEDED_US: Final = 30_000_000


class NoLive:
    """Nobody watches a replay."""

    async def publish(self, subject: str, body: bytes) -> None:
        """Send to nobody."""

    async def anyone(self, subject: str) -> bool:
        """Tell that nobody listens."""
        del subject
        return False

    async def listen(self, subject: str) -> AsyncIterator[bytes]:
        """Yield nothing, for ever."""
        del subject
        await asyncio.Event().wait()
        yield b""


class NoSnapshots:
    """A replay folds from the beginning."""

    async def load(self, key: str) -> bytes | None:
        """Return nothing."""
        del key
        return None

    async def save(self, key: str, value: bytes) -> None:
        """Forget it."""


class Folds:
    """Conversations of which nothing is forgotten, as they were at moments that come in any order.

    One moment is mostly behind the one before, and then nothing is folded twice.
    """

    def __init__(self, past: Past) -> None:
        self._past = past
        self._reached: dict[str, int] = {}
        self._folds = self._new()

    def _new(self) -> Conversations:
        return Conversations(self._past, NoSnapshots(), keep=EVERYTHING)

    def at(self, subject: Subject, seq: int) -> Conversations:
        """Return folds that know no more of a conversation than there was at a sequence."""
        if self._reached.get(str(subject.channel), 0) > seq:
            self._reached.clear()
            self._folds = self._new()
        return self._folds

    def reached(self, subject: Subject) -> None:
        """Note how far a conversation was shown."""
        channel = str(subject.channel)
        self._reached[channel] = max(self._reached.get(channel, 0), self._past.end(channel))


class Nowhere:
    """What no replay may touch: the database, files, the sandbox."""

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"a replay has no {name}")


class RecordedRun:
    """The model and the tools of one run, as they answered then."""

    def __init__(
        self, past: Past, run_id: RunId, subject: str, recorded: Sequence[Recorded]
    ) -> None:
        self._past = past
        self._run_id = run_id
        self._subject = subject
        self._bodies = past.bodies
        self._outputs: dict[str, ToolReturned] = {}
        for each in recorded:
            if isinstance(each.event, ToolReturned):
                self._outputs.setdefault(each.event.call_id, each.event)

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelAnswer:
        """Answer as the model did then.

        Raises:
            AttemptOver: it did not answer.
            ModelUnavailable, ModelRefused, ContextOverflow: it failed then.
        """
        del request, on_delta
        for recorded in self._past.coming(self._subject):
            event = recorded.event
            if getattr(event, "run_id", "") != self._run_id or isinstance(event, RunResumed):
                break
            if isinstance(event, ModelReturned):
                return await self._answer(event)
            if isinstance(event, ModelFailed):
                raise _FAILURES[event.reason](event.detail)
        raise AttemptOver("the recording has no answer")

    async def _answer(self, answer: ModelReturned) -> ModelAnswer:
        calls = answer.tool_calls
        if answer.tool_calls_body is not None:
            body = await self._bodies.get(answer.tool_calls_body)
            calls = msgspec.json.decode(body, type=tuple[ToolCall, ...])
        return ModelAnswer(
            model=answer.model,
            text=await text_of(self._bodies, answer.text),
            tool_calls=calls,
            usage=answer.usage,
            finish=answer.finish,
            latency_ms=answer.latency_ms,
        )

    def tool(self, tool: Tool[Any, Any]) -> Tool[Any, Any]:
        """Return a tool that gives what it gave then."""

        async def run(scope: Any, key: str, arguments: Any) -> ToolOutput:  # noqa: ANN401 - a tool's
            del scope, arguments
            recorded = self._outputs.get(key.rpartition("/")[2])
            if recorded is None:
                raise AttemptOver(f"the recording has no result of {key}")
            text = _WARNING.sub("", await text_of(self._bodies, recorded.output))
            status = "error" if recorded.status == "interrupted" else recorded.status
            return ToolOutput(text, status=status, recalled=recorded.recalled)

        return replace(tool, run=run)


class AgentsThen(Agents):
    """The agents as they were defined at the moment that the log shows."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(log)
        self._at: dict[str, int] = {}
        self._then: dict[str, Agents] = {}

    async def get(self, tenant: str, agent: str) -> Agent:
        """Return one agent; see `Agents`."""
        newest = await self._log.last(config_subject(tenant))
        seq = newest.seq if newest else 0
        if self._at.get(tenant) != seq:
            self._at[tenant], self._then[tenant] = seq, Agents(self._log)
        return await self._then[tenant].get(tenant, agent)


class BriefingThen(Briefings):
    """The briefing that a turn is tried with: it may have been shown one that was a little old."""

    def __init__(self, log: EventLog, clock: Any, *, people_tokens: int) -> None:  # noqa: ANN401 - the port
        super().__init__(log, clock, people_tokens=people_tokens)
        self.tried: BriefingWritten | None = None

    async def newest(self, tenant: str, agent: str) -> BriefingWritten | None:
        """Return it."""
        del tenant, agent
        return self.tried


def briefings(
    recording: Recording, tenant: str, agent: str, called: Recorded
) -> list[BriefingWritten | None]:
    """Return what a turn may have had in mind at its first model call, the newest first."""
    written = recording.select(str(subject_of(tenant, agent, "briefing")), 0, called.seq)
    found: list[BriefingWritten | None] = []
    for recorded in reversed(written[-BRIEFINGS:]):
        if isinstance(recorded.event, BriefingWritten):
            found.append(recorded.event)
        if recorded.envelope.at < called.envelope.at - SUPERSEDED_US:
            return found
    return [*found, None]


def effect_id(turn_id: RunId, call_id: str) -> str:
    """Return the id of what a tool call of a turn did."""
    return ids.derived("effect", turn_id, f"{turn_id}/{call_id}")
