"""Put together what an agent knows: a durable run, whose model call is paid once.

Consumes:  synthesis_requested
Emits:     the run's own stream; knowledge_synthesised or synthesis_failed
Never:     talks to people; runs without a request
"""

from dataclasses import dataclass
from typing import Final

from schemas.base import RunId
from schemas.cortex import KnowledgeSynthesised, SynthesisFailed, SynthesisRequested
from schemas.run import RunEnded, RunStarted
from schemas.subjects import matching, parse
from services.errors import Conflict, Permanent, Transient
from services.runtime import ids, prompts
from services.runtime.agents import Agents
from services.runtime.conversations import shown
from services.runtime.event_log import Delivery, Recorded
from services.runtime.journal import Journal
from services.runtime.model import Message
from services.runtime.run_decider import Finish, Profile
from services.runtime.run_loop import Context, Equipment, RunLoop
from services.runtime.writer import Writer

DURABLE: Final = "cortex_synthesis"  # names our read position in the log: never rename
PATTERN: Final = matching(entity="cortex", id="knowledge")
TYPES: Final = frozenset({"synthesis_requested"})
ATTEMPTS: Final = 5  # owners that may die in it; then it is the synthesis that kills them
GIVEN_UP: Final = f"{ATTEMPTS} attempts ended without a result"
TASK: Final = "[task] Put together what is known. The memories, as data:"


class Busy(Transient):
    """This process already drives the synthesis whose request came again."""


@dataclass(frozen=True, slots=True)
class SynthesisParts:
    """What the synthesis is made of."""

    writer: Writer
    equipment: Equipment
    agents: Agents
    profile: Profile
    default_model: str


class Syntheses:
    """Runs syntheses; any number of replicas share the work."""

    def __init__(self, parts: SynthesisParts) -> None:
        self._with = parts
        self._owner = ids.owner("cortex")
        self._driving: set[RunId] = set()
        self._sections = prompts.load("services.cortex", "synthesis.md")

    async def run(self) -> None:
        """Consume requests until asked to stop."""
        await self._with.writer.log.consume(
            DURABLE,
            [PATTERN],
            self.handle,
            types=TYPES,
            concurrency=4,
            stop=self._with.equipment.stopping,
        )

    async def handle(self, delivery: Delivery) -> None:
        """Start or resume the run that was asked for, and write down what came of it.

        Raises:
            Fenced: another process owns the run.
            Busy, LogUnavailable: the delivery should come again.
        """
        asked = delivery.recorded
        event = asked.event
        if not isinstance(event, SynthesisRequested):
            return
        if event.run_id in self._driving:
            raise Busy(f"{event.run_id} is being driven here")
        newest = await self._with.writer.log.last(asked.subject, fresh=True)
        if newest is None or newest.envelope.id != asked.envelope.id:
            return  # it is concluded
        journal = await self._journal(asked, event)
        state = journal.state
        if state.ended is None:
            if state.started is None:
                await journal.start(await self._started(asked, event), holder=asked.envelope.id)
                await self._drive(asked, event, journal)
            elif not delivery.redelivered or state.holder != asked.envelope.id:
                return  # somebody else holds it, by another delivery
            elif state.attempt < ATTEMPTS:
                await journal.resume(holder=asked.envelope.id)
                await self._drive(asked, event, journal)
            else:
                given_up = RunEnded(run_id=event.run_id, outcome="failed", reason=GIVEN_UP)
                await journal.from_outside(given_up, cause=asked.envelope.id)
        await self._conclude(asked, event, journal)

    async def _journal(self, asked: Recorded, event: SynthesisRequested) -> Journal:
        stream = parse(asked.subject).of("synthesis", event.run_id)
        equipment = self._with.equipment
        journal = Journal(
            self._with.writer, equipment.bodies, str(stream), event.run_id, owner=self._owner
        )
        journal.on_behalf_of(None, asked.envelope.id)
        await journal.load(after=asked.seq)
        return journal

    async def _started(self, asked: Recorded, event: SynthesisRequested) -> RunStarted:
        return RunStarted(
            run_id=event.run_id,
            kind="synthesis",
            owner=self._owner,
            task=f"Put together {len(event.memories)} memories.",
            model=await self._model(asked),
        )

    async def _model(self, asked: Recorded) -> str:
        """Return the agent's model; one that is gone meanwhile had none of its own."""
        subject = parse(asked.subject)
        known = {agent.id: agent for agent in await self._with.agents.of(subject.tenant)}
        agent = known.get(subject.agent or "")
        return (agent.model if agent else None) or self._with.default_model

    async def _drive(self, asked: Recorded, event: SynthesisRequested, journal: Journal) -> None:
        """Drive a run that we own to its end."""

        async def context() -> Context:
            source = await shown(event.source, self._with.equipment.bodies)
            task = Message(role="user", content=f"{TASK}\n{source}")
            return Context(system=self._sections, history=(task,))

        self._driving.add(event.run_id)
        try:
            loop = RunLoop(
                journal,
                self._with.profile,
                self._with.equipment,
                model=await self._model(asked),
                tools=(),
                scope=None,
                context=context,
            )
            end = await loop.drive()
            outcome = end.outcome if isinstance(end, Finish) else "partial"
            reason = end.reason if isinstance(end, Finish) else ""
            await journal.append(
                RunEnded(run_id=event.run_id, outcome=outcome, result=end.result, reason=reason)
            )
        except Permanent as error:  # no repetition would help
            reason = str(error)[:1_000]
            await journal.append(RunEnded(run_id=event.run_id, outcome="failed", reason=reason))
        finally:
            self._driving.discard(event.run_id)

    async def _conclude(self, asked: Recorded, event: SynthesisRequested, journal: Journal) -> None:
        """Write down what came of it; once, however often it is tried."""
        ended = journal.state.ended
        if ended is None:
            return
        concluded: KnowledgeSynthesised | SynthesisFailed
        if ended.outcome == "succeeded" and ended.result:
            concluded = KnowledgeSynthesised(
                run_id=event.run_id,
                graph=event.graph,
                memories=event.memories,
                text=ended.result,
            )
        else:
            reason = ended.reason or f"it {ended.outcome} without a text"
            concluded = SynthesisFailed(run_id=event.run_id, graph=event.graph, reason=reason)
        envelope = self._with.writer.seal(
            concluded, id=ids.derived("synthesised", event.run_id), cause=journal.state.last
        )
        try:
            await self._with.writer.log.append_if(asked.subject, asked.seq, envelope)
        except Conflict:
            return  # another process has told it
