"""Run compactions: a model summarises a part of a conversation, and the summary is swapped in.

Consumes:  compaction_requested
Emits:     the compaction's steps; then a checkpoint, or that there is none
Never:     changes what a turn was shown, covers what another checkpoint covers
"""

from typing import Final

from msgspec.structs import replace

from schemas.channel import ChannelEvent, CompactionFailed
from schemas.run import RunEnded, RunWaiting
from schemas.subjects import Subject
from services.compactor import summary
from services.compactor.decider import Part
from services.errors import Conflict, Permanent
from services.runtime import ids, prompts
from services.runtime.agents import Agent
from services.runtime.bodies import content, text_of
from services.runtime.conversation import Compaction, Conversation, can_cut, covered_by
from services.runtime.journal import Journal
from services.runtime.model import Message
from services.runtime.run_loop import Context
from services.runtime.run_service import Plan, Request, RunParts, RunService
from services.runtime.run_state import RunState

SUPERSEDED: Final = "another checkpoint covers this part by now"
SILENT: Final = "the model gave no summary"
USABLE: Final = frozenset({"succeeded", "partial"})


class Compactions(RunService[None]):
    """Summarises; any number of replicas share the work."""

    kind = "compaction"
    durable = "compaction"  # names our read position in the log: never rename
    request_types = frozenset({"compaction_requested"})

    def __init__(self, parts: RunParts, model: str | None = None) -> None:
        """Take folds that forget nothing as the conversations; `model` None is the agent's own."""
        super().__init__(parts)
        self._summariser = model
        self._sections = prompts.load("services.compactor", "compactor.md")

    async def plan(self, request: Request, agent: Agent, journal: Journal) -> Plan[None]:  # noqa: ARG002
        """Return how to drive a compaction: on the part that was asked for, without tools."""
        state = await self._as_asked(request)
        if state.compaction is None:
            raise Permanent(f"{request.run_id} was never asked for")
        wanted = state.compaction

        async def context() -> Context:
            text = await self._shown(state, wanted)
            history = (Message(role="user", content=text),)
            return Context(system=self._sections, history=history, at=wanted.until)

        return Plan((), None, context)

    async def _as_asked(self, request: Request) -> Conversation:
        """Return the conversation as it was asked about, as far as the part goes that it is about.

        What is to be summarised stands where it stood until a checkpoint covers it, so the newest
        fold does; only after a checkpoint that came first is the past folded anew.
        """
        state = await self._with.conversations.at_least(request.subject, request.seq)
        now = state.compaction
        if now is not None and now.run_id == request.run_id and _is_untouched(state, now):
            return state
        return await self._with.conversations.up_to(request.subject, request.id)

    async def _shown(self, state: Conversation, wanted: Compaction) -> str:
        bodies, part = self._with.equipment.bodies, part_of(state, wanted)
        if part.sources:
            return await summary.checkpoints(part.sources, bodies)
        before = state.checkpoints[-1] if state.checkpoints else None
        return await summary.transcript(part.entries, before, bodies)

    def conclusion(self, run: RunState, ended: RunEnded) -> ChannelEvent:
        """Return what the conversation is told of a compaction whose summary is not swapped in."""
        if ended.outcome not in USABLE:
            outcome, reason = ended.outcome, ended.reason or "it failed"
        elif ended.result:
            outcome, reason = "cancelled", SUPERSEDED
        else:
            outcome, reason = "failed", SILENT
        return CompactionFailed(run_id=run.run_id, outcome=outcome, reason=reason[:1_000])

    def report(self, run: RunState, waiting: RunWaiting) -> ChannelEvent | None:
        """Compactions never wait."""
        del run, waiting
        return None

    async def _refusal(self, request: Request) -> str | None:
        """Return why no model need be asked any more, or cannot be."""
        state = await self._with.conversations.at_least(request.subject, request.seq)
        if state.compaction is None or state.compaction.run_id != request.run_id:
            return SUPERSEDED
        return await super()._refusal(request)

    async def _model(self, subject: Subject) -> str:
        model = await super()._model(subject)  # an agent that is gone has no summaries either
        return self._summariser or model

    async def _tell(self, request: Request, journal: Journal) -> None:
        """Swap the summary in; else tell that there is none. Once, however often it is tried."""
        ended = journal.state.ended
        if ended is not None and ended.outcome in USABLE and ended.result:
            text = await text_of(self._with.equipment.bodies, ended.result)
            if await self._swap_in(request, journal.state, text):
                return
        await super()._tell(request, journal)  # which finds it where it was told already

    async def _swap_in(self, request: Request, run: RunState, text: str) -> bool:
        """Append the checkpoint unless another one came first; tell whether it is there now."""
        title, told = summary.read(text)
        kept = await content(self._with.equipment.bodies, told)
        writer, id_ = self._with.writer, ids.derived("concluded", request.run_id)
        while True:
            state = await self._with.conversations.newest(request.subject)
            wanted = state.compaction
            if wanted is None or wanted.run_id != request.run_id:
                return False
            cut = replace(
                summary.cut_of(part_of(state, wanted), title, ""),
                summary=kept,
                run_id=request.run_id,
                model=run.started.model if run.started else "",
            )
            if not can_cut(state, cut):
                return False
            envelope = writer.seal(cut, id=id_, cause=run.last, turn=request.turn)
            try:
                await writer.log.append_if(str(request.subject), state.seq, envelope)
            except Conflict:
                continue
            return True


def _is_untouched(state: Conversation, wanted: Compaction) -> bool:
    """Tell whether everything that a compaction is about is still there."""
    if wanted.sources:
        return {*wanted.sources} <= {one.id for one in state.checkpoints}
    return state.covered == wanted.after


def part_of(state: Conversation, wanted: Compaction) -> Part:
    """Return the part that a compaction was asked to summarise."""
    sources = tuple(one for one in state.checkpoints if one.id in wanted.sources)
    entries = () if wanted.sources else covered_by(state, wanted.until)
    return Part(wanted.kind, wanted.after, wanted.until, entries, sources)
