"""The durable loop that every run goes round: decide, do one step, record it.

Whatever was recorded is never done again: a returned model call is not paid twice, a tool with a
result does not run twice, and a tool that was cut short is resolved by its own policy.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog

from schemas.base import BodyRef, EventId, RunId
from schemas.run import (
    CallRefused,
    ContextTrimmed,
    ModelCalled,
    ModelFailed,
    ModelReturned,
    Noted,
    RunEvent,
    ToolCall,
    ToolCalled,
    ToolReturned,
)
from schemas.spend import Shortage
from services.errors import (
    ContextOverflow,
    Fenced,
    HandedBack,
    ModelRefused,
    ModelUnavailable,
    Permanent,
    Rejected,
    ServiceError,
    Transient,
)
from services.runtime import prompts
from services.runtime.bodies import BodyStore, content, text_of
from services.runtime.budgets.spending import Ask, Reservation, Reserving
from services.runtime.cancelling import end
from services.runtime.chronicle import CHARS_PER_TOKEN
from services.runtime.clock import Clock
from services.runtime.conversations import CHECKPOINTS
from services.runtime.first_chunk import FirstChunk
from services.runtime.journal import Journal
from services.runtime.live import Live, changes
from services.runtime.model import Message, Model, ModelRequest, OnDelta
from services.runtime.repair import MalformedArguments, decode_arguments
from services.runtime.run_decider import (
    CallModel,
    CutContext,
    Finish,
    Nudge,
    Profile,
    RefuseTool,
    RunTool,
    Wait,
    decide,
)
from services.runtime.telemetry.context import within
from services.runtime.text import clean, cut
from services.runtime.tool import Tool, ToolOutput, tool_list

S = TypeVar("S")

WATCH_AFTER_S: Final = 0.5  # runs that are over sooner are not watched at all
WATCH_S: Final = 2.0  # how often an owner looks whether its run was taken over or stopped
FAILURE_BACKOFF_S: Final = 5.0  # before a branch or worker asks again, doubled each time
RECORDED_CALLS_BYTES: Final = 24_576  # tool calls above this go to the object store
AT_MOST: Final = 0.85  # of the window; leaves room for the answer
BETWEEN_SEGMENTS: Final = 0.70
FEWEST: Final = 5  # messages, the system prompt included, that are never cut
FRAMING_TOKENS: Final = 1_000  # what providers put around a request with tools, at most
INTERRUPTED: Final = (
    "Interrupted: the process that ran this stopped before it had a result. The outcome is "
    "unknown: it may have happened, in part or not at all. Look before you act again."
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Context:
    """What a run is shown before its own transcript."""

    system: str
    history: tuple[Message, ...] = ()
    at: EventId | None = None
    """Last channel event that `history` covers."""
    note: str = ""
    """Time and status: shown behind the history, fixed with the first model call."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What every run of a process shares."""

    bodies: BodyStore
    model: Model
    live: Live
    clock: Clock
    stopping: asyncio.Event
    tool_output_bytes: int = 50_000
    step_s: float = 900.0
    """Longest single step without an event: the wall clock by inactivity."""
    max_output_tokens: int = 8_192
    context_window_tokens: int = 128_000
    budgets: Reserving | None = None
    """Where model calls are reserved; None where there is no budget."""
    kept: set[str] = field(default_factory=set)
    """Hashes of prompts that this process knows to be in the object store."""


class StepTimedOut(ServiceError):
    """A single step of a run took too long."""


class RunLoop(Generic[S]):
    """Drives one run that this process owns."""

    def __init__(  # noqa: PLR0913 - a run has these parts
        self,
        journal: Journal,
        profile: Profile,
        equipment: Equipment,
        *,
        model: str,
        tools: Sequence[Tool[S, Any]],
        scope: S,
        context: Callable[[], Awaitable[Context]],
        on_delta: OnDelta | None = None,
    ) -> None:
        self._journal = journal
        self._profile = profile
        self._with = equipment
        self._model = model
        self._tools: Mapping[str, Tool[S, Any]] = {tool.name: tool for tool in tools}
        self._specs = tuple(tool.spec() for tool in tools)
        self._tools_text = tool_list(tuple(tools))
        self._scope = scope
        self._make_context = context
        self._context: Context | None = None
        self._on_delta = on_delta

    @property
    def run_id(self) -> RunId:
        """The run that this drives."""
        return self._journal.state.run_id

    async def drive(self) -> Finish | Wait:
        """Go on until the run ends or waits; writing the end is the caller's.

        Raises:
            Fenced: the run was taken over, stopped or ended by somebody else.
            HandedBack: this process is stopping; the run stands between two steps.
        """
        with within(self.run_id):
            return await self._drive()

    async def _drive(self) -> Finish | Wait:
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                if self._with.stopping.is_set():
                    raise HandedBack(f"{self.run_id} stands after step {self._journal.state.step}")
                step = decide(self._journal.state, self._profile, now=self._with.clock.now())
                if isinstance(step, Finish | Wait):
                    return step
                if watching.done():
                    watching.result()  # a bug in it ends the run's attempt, not step after step
                    await self._journal.absorb()
                    watching = asyncio.create_task(self._watch())
                await self._watched(self._do(step), watching)
        except StepTimedOut as error:
            return Finish("timed_out", self._journal.state.last_text, str(error))
        finally:
            await end(watching)

    async def _do(self, step: CallModel | RunTool | RefuseTool | Nudge | CutContext) -> None:
        match step:
            case CallModel(step=number, after_failures=failures):
                if failures:
                    await self._with.clock.sleep(FAILURE_BACKOFF_S * 2 ** (failures - 1))
                await self._call_model(number)
            case RunTool(call=call, interrupted=interrupted, warning=warning):
                await self._run_tool(call, warning, interrupted=interrupted)
            case RefuseTool(call=call, reason=reason):
                await self._returned(call, ToolOutput(reason, status="refused"), 0)
            case Nudge(text=text):
                await self._append(Noted(run_id=self.run_id, kind="nudge", text=text))
            case CutContext():
                await self._cut_context()

    async def _append(self, event: RunEvent, reservation: Reservation | None = None) -> None:
        """Append a step; with what came of a model call, its reservation is settled."""
        beside = None
        if reservation is not None:
            usage = event.usage if isinstance(event, ModelReturned) else None
            beside = reservation.settled(usage)
        await self._journal.append(event, beside=beside)

    # -- being watched -----------------------------------------------------------------------

    async def _watched(self, step: Coroutine[Any, Any, None], watching: asyncio.Task[None]) -> None:
        """Do a step, and stop in the middle of it when the run may no longer be ours."""
        doing = asyncio.create_task(step)
        try:
            done, _ = await asyncio.wait(
                {doing, watching},
                timeout=self._with.step_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                raise StepTimedOut(f"nothing came of a step within {self._with.step_s:g} s")
            if doing in done:
                await doing
        finally:
            if not doing.done():
                await end(doing)

    async def _watch(self) -> None:
        """Return when the run's stream holds a takeover or an end that is not ours."""
        await asyncio.sleep(WATCH_AFTER_S)
        hints = self._with.live.listen(changes(self.run_id))
        hint = asyncio.ensure_future(anext(hints))
        try:
            while not await self._is_out_of_hand():
                await asyncio.wait({hint}, timeout=WATCH_S)
                if hint.done():
                    hint.result()
                    hint = asyncio.ensure_future(anext(hints))
        finally:
            await end(hint)
            await hints.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def _is_out_of_hand(self) -> bool:
        """Tell whether the newest event says so, as far as it can be had now."""
        try:
            newest = await self._journal.log.last(self._journal.subject)
        except Transient:
            return False
        if newest is None or newest.seq <= self._journal.state.seq:
            return False
        return newest.envelope.type in {"run_ended", "run_resumed"}

    # -- the model ---------------------------------------------------------------------------

    async def _call_model(self, step: int) -> None:
        context = await self._base()
        note = await text_of(self._with.bodies, self._journal.state.note or context.note)
        request = await self._request(context, note)
        something_left = self._journal.state.trimmed < self._length(context)
        if something_left and self._is_too_large(request, step):
            await self._cut_context()
            return
        body = msgspec.json.encode(request)
        reservation = await self._reserve(step, request, body)
        if isinstance(reservation, Shortage):
            await self._append(
                CallRefused(
                    run_id=self.run_id,
                    step=step,
                    model=request.model,
                    shortage=reservation,
                    context=context.at if self._journal.state.context is None else None,
                )
            )
            return
        state = self._journal.state
        called = ModelCalled(
            run_id=self.run_id,
            step=step,
            model=request.model,
            prompt=await self._kept(context.system),
            tools=await self._kept(self._tools_text),
            request=prompts.digest(body),
            context=context.at if state.context is None else None,
            note=await content(self._with.bodies, note) if state.note is None else "",
        )
        await self._append(called)
        first = FirstChunk(self._on_delta, self._with.clock)
        try:
            answer = await self._with.model.complete(request, first.listener)
        except ContextOverflow as error:
            await self._failed(step, "overflow", error, reservation)
            return
        except ModelRefused as error:
            await self._failed(step, "refused", error, reservation)
            return
        except ModelUnavailable as error:
            await self._failed(step, "unavailable", error, reservation)
            return
        calls = tuple(
            ToolCall(id=f"s{step}c{index}", name=clean(call.name), arguments=clean(call.arguments))
            for index, call in enumerate(answer.tool_calls)
        )
        large = None
        if len(msgspec.json.encode(calls)) > RECORDED_CALLS_BYTES:
            large = await self._with.bodies.put(
                msgspec.json.encode(calls), media_type="application/json"
            )
        await self._append(
            ModelReturned(
                run_id=self.run_id,
                step=step,
                model=answer.model,
                text=await content(self._with.bodies, clean(answer.text)),
                tool_calls=() if large else calls,
                tool_calls_body=large,
                usage=answer.usage,
                finish=answer.finish,
                latency_ms=answer.latency_ms,
                first_chunk_ms=first.after_ms,
            ),
            reservation,
        )

    async def _reserve(
        self, step: int, request: ModelRequest, body: bytes
    ) -> Reservation | Shortage | None:
        """Reserve what the call may use at most; a token of a request has at least one byte."""
        if self._with.budgets is None:
            return None
        ask = Ask(
            run_id=self.run_id,
            step=step,
            model=request.model,
            input_tokens=len(body) + FRAMING_TOKENS,
            output_tokens=request.max_output_tokens,
        )
        return await self._with.budgets.reserve(self._journal.subject, ask)

    def _is_too_large(self, request: ModelRequest, step: int) -> bool:
        """Tell whether the context should be cut before it is sent.

        Between a worker's segments a fuller context is cut than within one, since there the cut
        costs the least: what follows is a new beginning anyway.
        """
        if len(request.messages) <= FEWEST:
            return False
        segment = self._profile.segment_calls
        between = segment > 0 and step > 1 and (step - 1) % segment == 0
        share = BETWEEN_SEGMENTS if between else AT_MOST
        return _estimated_tokens(request) > share * self._with.context_window_tokens

    async def _failed(
        self,
        step: int,
        reason: Any,  # noqa: ANN401 - the event's word
        error: Exception,
        reservation: Reservation | None,
    ) -> None:
        log.warning("model.failed", run=self.run_id, reason=reason, detail=str(error))
        await self._append(
            ModelFailed(run_id=self.run_id, step=step, reason=reason, detail=str(error)[:1_000]),
            reservation,
        )

    async def _base(self) -> Context:
        if self._context is None:
            made = await self._make_context()
            self._context = replace(made, system=await self._system(made.system))
        return self._context

    async def _system(self, made: str) -> str:
        """Return the system prompt that the run was first shown, or the one made now.

        Whoever takes a run over shows the same bytes, whatever the agent knows by then.
        """
        digest = self._journal.state.prompt
        if digest is None or digest == prompts.digest(made):
            return made
        try:
            return (await self._with.bodies.get(BodyRef(sha256=digest, bytes=0))).decode()
        except Permanent as error:
            log.warning("prompt.lost", run=self.run_id, reason=str(error))
            return made

    async def _kept(self, text: str) -> str:
        """Return the hash of a prompt, having made sure that its bytes are in the object store."""
        digest = prompts.digest(text)
        if digest not in self._with.kept:
            await self._with.bodies.put(text.encode())
            self._with.kept.add(digest)
        return digest

    async def _request(self, context: Context, note: str) -> ModelRequest:
        state = self._journal.state
        shown = list(context.history)
        if note:
            shown.append(Message(role="user", content=note))
        kept = range(len(context.history) - 1, len(shown))
        shown += [
            Message(
                role=line.role,
                content=await text_of(self._with.bodies, line.text),
                tool_calls=line.tool_calls,
                tool_call_id=line.call_id,
            )
            for line in state.lines
        ]
        if state.trimmed:
            pinned = sum(line.content.startswith(CHECKPOINTS) for line in shown[:1])  # always stays
            kept = range(kept.start - pinned, kept.stop - pinned)
            rest = _without_oldest(shown[pinned:], state.trimmed, kept)
            shown = [*shown[:pinned], *rest]
        return ModelRequest(
            model=self._model,
            messages=(Message(role="system", content=context.system), *shown),
            tools=self._specs,
            kind=self._profile.kind,
            max_output_tokens=self._with.max_output_tokens,
        )

    async def _cut_context(self) -> None:
        context = await self._base()
        state = self._journal.state
        dropped = state.trimmed + max(1, (self._length(context) - state.trimmed) // 2)
        await self._append(ContextTrimmed(run_id=self.run_id, dropped=dropped))

    def _length(self, context: Context) -> int:
        """Return how many entries there are to be shown."""
        return len(context.history) + len(self._journal.state.lines)

    # -- tools -------------------------------------------------------------------------------

    async def _run_tool(self, call: ToolCall, warning: str, *, interrupted: bool) -> None:
        tool = self._tools.get(call.name)
        if tool is None:
            names = ", ".join(self._tools)
            text = f"Error: there is no tool {call.name!r}; there are: {names}."
            await self._returned(call, ToolOutput(text, status="error"), 0)
            return
        if interrupted and not tool.repeatable:
            await self._returned(call, ToolOutput(INTERRUPTED), 0, interrupted=True)
            return
        if not interrupted:
            await self._append(
                ToolCalled(run_id=self.run_id, call_id=call.id, name=clean(call.name))
            )
        started = self._with.clock.monotonic()
        with within(call.id):
            output = await self._outcome(tool, call)
        if warning:
            output = replace(output, text=f"{output.text}\n\n{warning}")
        duration = round((self._with.clock.monotonic() - started) * 1_000)
        await self._returned(call, output, duration)

    async def _outcome(self, tool: Tool[S, Any], call: ToolCall) -> ToolOutput:
        """Run a tool; what goes wrong in it is something the model should see."""
        try:
            arguments = decode_arguments(tool.arguments, call.arguments)
            return await tool.run(self._scope, f"{self.run_id}/{call.id}", arguments)
        except MalformedArguments as error:
            return ToolOutput(f"Error: {error}", status="error")
        except Rejected as error:
            return ToolOutput(f"Refused: {error}", status="refused")
        except (Permanent, OSError) as error:
            return ToolOutput(f"Error: {type(error).__name__}: {error}", status="error")
        except Transient as error:
            return ToolOutput(f"Error: not available at the moment: {error}", status="error")
        except Fenced:
            raise
        except Exception as error:  # a tool's bug must not end the run
            log.exception("tool.failed", tool=tool.name, run=self.run_id)
            return ToolOutput(f"Error: the tool failed: {type(error).__name__}", status="error")

    async def _returned(
        self, call: ToolCall, output: ToolOutput, duration_ms: int, *, interrupted: bool = False
    ) -> None:
        limit = self._with.tool_output_bytes
        text = clean(output.text)
        full = output.full
        if full is None and len(text.encode()) > limit:
            full = text.encode()
        await self._append(
            ToolReturned(
                run_id=self.run_id,
                call_id=call.id,
                name=clean(call.name)[:200],
                status="interrupted" if interrupted else output.status,
                output=await content(self._with.bodies, cut(text, limit)),
                full=await self._with.bodies.put(full) if full is not None else None,
                duration_ms=duration_ms,
                recalled=output.recalled,
            )
        )


def _estimated_tokens(request: ModelRequest) -> int:
    """Return about how many tokens a request has; real counts come back with the answer."""
    texts = (len(message.content) for message in request.messages)
    calls = (len(call.arguments) for message in request.messages for call in message.tool_calls)
    return (sum(texts) + sum(calls)) // CHARS_PER_TOKEN


def _without_oldest(shown: list[Message], dropped: int, kept: range) -> list[Message]:
    """Leave out the oldest messages, never a tool's result without its call, never all.

    Args:
        shown: History, note and transcript, without the system prompt.
        dropped: How many to leave out, from the oldest.
        kept: Indices of what always stays: the newest of the history, which is the task or what
            the turn answers, and the note.
    """
    start = min(dropped, len(shown) - 1)
    while start < len(shown) - 1 and shown[start].role == "tool":
        start += 1
    while start > 0 and shown[start].role == "tool":  # nothing but results was left
        start -= 1
    rest = [shown[index] for index in kept if 0 <= index < start] + shown[start:]
    return [Message(role="user", content="[earlier messages are left out here]"), *rest]
