"""Drive recorded runs again, attempt by attempt, and report where today's code parts from them."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import msgspec

from schemas.base import EventId
from schemas.channel import TurnStarted
from schemas.run import ModelCalled, RunStarted
from schemas.subjects import Subject, parse
from services.branch import loops as branch
from services.channel import loops as channel
from services.channel.service import Parts
from services.channel.turn import Turn
from services.cli.replaying import ports
from services.cli.replaying.deciding import Deciding
from services.cli.replaying.difference import Divergence
from services.cli.replaying.past import AttemptOver, Diverged, Past, Stuck
from services.cli.replaying.ports import (
    AgentsThen,
    BriefingThen,
    Folds,
    NoLive,
    NoSnapshots,
    Nowhere,
)
from services.cli.replaying.recording import Overlay, Recording
from services.cli.replaying.runs import Kind, Run, cause_of, concluded
from services.cli.replaying.then import BranchesThen, ChannelThen, Script, WorkersThen
from services.compactor import loops as compactor
from services.compactor.compactions import Compactions
from services.cortex import loops as cortex
from services.cortex.synthesis import Syntheses, SynthesisParts
from services.errors import Fenced, Permanent, Transient
from services.runtime import ids
from services.runtime.agents import Agents, config_subject
from services.runtime.config import Config
from services.runtime.conversation import calls_for_turn
from services.runtime.conversations import Conversations
from services.runtime.event_log import Delivery, Handler, Recorded
from services.runtime.lineage import HistoryMissing
from services.runtime.model_choice import OFFLINE_MODEL
from services.runtime.run_decider import Profile
from services.runtime.run_loop import Equipment
from services.runtime.run_service import RunParts
from services.runtime.writer import Writer
from services.worker import loops as worker
from services.worker.tools import WorkerScope

CONVERSING: Final = ("turn", "branch", "worker")
"""Kinds whose runs see a conversation as far as it is shown in a prompt."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """How one run came out."""

    run_id: str
    kind: Kind
    subject: str
    steps: int
    """Recorded decisions that today's code takes as well."""
    divergence: Divergence | None = None
    problem: str = ""
    """Why the rest of it cannot be replayed, where it cannot."""


class Replay:
    """Replays runs of one recording; every part of it is today's, but the world."""

    def __init__(
        self, recording: Recording, config: Config, *, decisions_only: bool = False
    ) -> None:
        self._recording = recording
        self._config = config
        self._bodies = Overlay(recording.bodies)
        self._past = Past(recording, self._bodies, decisions_only=decisions_only)
        self._agents: Agents = AgentsThen(self._past)
        keep = config.channel.history_entries
        self._conversations = {
            kind: Conversations(self._past, NoSnapshots(), keep=keep) for kind in CONVERSING
        }
        self._folds = Folds(self._past)
        self._deciding = Deciding(self._past, self._bodies, config)
        self._stopping = asyncio.Event()
        self._kept: set[str] = set()

    async def all(self, runs: Iterable[Run]) -> list[Replayed]:
        """Replay runs, one after the other."""
        return [await self.one(run) for run in runs]

    async def one(self, run: Run) -> Replayed:
        """Replay every attempt of a run, up to the first divergence."""
        self._past.steps = 0
        self._bodies.missing.clear()
        divergence, problem = None, ""
        try:
            self._check_config(run)
            if run.asked is not None:
                await self._deciding.drive(run, run.asked)
            self._past.follow(run.run_id, run.subject, is_turn=run.kind == "turn")
            for number, claim in enumerate(run.claims):
                after = run.claims[number + 1].seq if number + 1 < len(run.claims) else None
                await self._attempt(run, number, claim)
                self._check_left_over(run, claim, after)
        except Diverged as diverged:
            if self._bodies.missing:  # then the difference is likely to be that
                problem = f"body {self._bodies.missing[0]} is not in the store"
            else:
                divergence = diverged.divergence
        except (Permanent, Stuck, HistoryMissing) as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - a bug of today's code is a difference, of one run
            divergence = self._past.failed(error)
        return Replayed(
            run_id=run.run_id,
            kind=run.kind,
            subject=run.subject,
            steps=self._past.steps,
            divergence=divergence,
            problem=problem,
        )

    def _check_config(self, run: Run) -> None:
        """Make sure that the recording says which agents there were.

        Raises:
            Permanent: it does not, as an export of one conversation alone does not.
        """
        tenant = parse(run.subject).tenant
        if self._recording.next(config_subject(tenant), 0) is None:
            raise Permanent(f"the recording does not define the agents of {tenant!r}")

    async def _attempt(self, run: Run, number: int, claim: Recorded) -> None:
        try:
            if run.kind == "turn":
                await self._turn(run, claim)
            else:
                await self._service(run, number, claim)
        except (Diverged, Stuck):
            raise
        except (AttemptOver, Fenced, Transient):
            return  # as then: what follows in the recording says who went on

    def _check_left_over(self, run: Run, claim: Recorded, until: int | None) -> None:
        end = until - 1 if until else self._recording.events[-1].seq
        streams = (run.subject, claim.subject) if run.kind == "turn" else (run.subject,)
        for stream in streams:
            left = self._past.left_over(stream, end)
            if left is not None:
                self._past.diverge(left, None)
        told = self._recording.by_id.get(ids.derived(*concluded(run)))
        if self._past.ended and told is not None and self._past.end(told.subject) < told.seq:
            self._past.diverge(told, None)

    # -- turns -------------------------------------------------------------------------------

    async def _turn(self, run: Run, claim: Recorded) -> None:
        subject = parse(claim.subject)
        script = self._script(run)
        conversations = self._conversations["turn"]
        self._past.rewind(claim.seq - 1, claim.envelope.at)
        before = await conversations.newest(subject)
        started = isinstance(claim.event, TurnStarted)
        most = self._config.channel.max_retriggers
        if started and before.seq < claim.seq and not calls_for_turn(before, max_retriggers=most):
            self._past.diverge(claim, None, ("nothing calls for a turn here",))
        self._past.steps += 1
        self._past.rewind(claim.seq, claim.envelope.at)
        self._show_context(claim, script.called)
        state = await conversations.newest(subject)
        turn = Turn(
            subject=subject,
            turn_id=run.run_id,
            attempt=getattr(claim.event, "attempt", 1),
            holder=claim.envelope.cause or EventId(""),
            conversations=conversations,
            writer=self._writer("channel"),
            state=state,
        )
        await ChannelThen(self._parts(script), script, self._choices(subject, script.called)).drive(
            turn
        )

    def _show_context(self, claim: Recorded, called: Recorded | None) -> None:
        """Show what arrived while the turn waited for people to come to a pause."""
        if called is None or called.seq < claim.seq or not isinstance(called.event, ModelCalled):
            return
        context = self._recording.by_id.get(called.event.context or EventId(""))
        if context is not None and context.seq > claim.seq:
            self._past.reveal(context)

    def _choices(self, subject: Subject, called: Recorded | None) -> Sequence[Any]:
        if called is None:
            return [None]
        return ports.briefings(self._recording, subject.tenant, subject.agent or "", called)

    def _parts(self, script: Script) -> Parts:
        config = self._config
        return Parts(
            writer=self._writer("channel"),
            equipment=self._equipment(script),
            conversations=self._conversations["turn"],
            agents=self._agents,
            settings=config.channel,
            profile=channel.profile(config),
            statuses=cast("Any", Nowhere()),
            workspace=cast("Any", lambda tenant, agent: Nowhere()),  # noqa: ARG005 - the port's
            default_model=script.model,
            briefings=BriefingThen(
                self._past, self._past, people_tokens=config.cortex.people_tokens
            ),
            jobs=cast("Any", Nowhere()),
            job_index=cast("Any", Nowhere()),
        )

    # -- runs of their own -------------------------------------------------------------------

    async def _service(self, run: Run, number: int, claim: Recorded) -> None:
        holder = cause_of(self._recording, claim)
        if holder is None:
            raise Permanent("what it was asked is not in the recording")
        again = any(each.envelope.cause == claim.envelope.cause for each in run.claims[:number])
        self._past.rewind(claim.seq - 1, claim.envelope.at)
        handle = self._handler(run, holder, self._script(run))
        try:
            await handle(Delivery(holder, 2 if again else 1))
        finally:
            if run.kind == "compaction":
                self._folds.reached(parse(holder.subject))

    def _handler(self, run: Run, holder: Recorded, script: Script) -> Handler:
        """Return what handles the deliveries of a kind of run."""
        service: BranchesThen | WorkersThen
        match run.kind:
            case "branch":
                service = self._branches(script)
            case "worker":
                service = self._workers(script)
            case "compaction":
                return self._compactions(holder, script).handle
            case _:
                return self._syntheses(script).handle
        service.script = script
        return service.handle

    def _branches(self, script: Script) -> BranchesThen:
        parts = self._run_parts("branch", branch.profile(self._config), script)
        nowhere = cast("Any", Nowhere())
        return BranchesThen(parts, nowhere, None, self._config.persistence, known=nowhere)

    def _workers(self, script: Script) -> WorkersThen:
        parts = self._run_parts("worker", worker.profile(self._config), script)
        limit = self._config.worker.tool_output_bytes
        scope = WorkerScope(cast("Any", Nowhere()), shell_timeout_s=0, output_bytes=limit)
        return WorkersThen(parts, lambda tenant, agent: scope)  # noqa: ARG005

    def _compactions(self, holder: Recorded, script: Script) -> Compactions:
        config = self._config
        parts = RunParts(
            writer=self._writer("compactor"),
            equipment=compactor.equipped(self._equipment(script), config),
            conversations=self._folds.at(parse(holder.subject), self._past.end(holder.subject)),
            agents=self._agents,
            profile=compactor.profile(config),
            default_model=script.model,
        )
        return Compactions(parts, config.compactor.model)

    def _syntheses(self, script: Script) -> Syntheses:
        return Syntheses(
            SynthesisParts(
                writer=self._writer("cortex"),
                equipment=self._equipment(script),
                agents=self._agents,
                profile=cortex.profile(self._config),
                default_model=script.model,
            )
        )

    def _run_parts(self, kind: Kind, profile: Profile, script: Script) -> RunParts:
        return RunParts(
            writer=self._writer(kind),
            equipment=self._equipment(script),
            conversations=self._conversations[kind],
            agents=self._agents,
            profile=profile,
            default_model=script.model,
        )

    # -- shared ------------------------------------------------------------------------------

    def _writer(self, actor: str) -> Writer:
        return Writer(self._past, self._past, actor)

    def _script(self, run: Run) -> Script:
        answers = ports.RecordedRun(self._past, run.run_id, run.subject, run.steps)
        return Script(self._past, answers, _first_call(run), _model(run))

    def _equipment(self, script: Script) -> Equipment:
        config = self._config
        return Equipment(
            bodies=self._bodies,
            model=script.run,
            live=NoLive(),
            clock=self._past,
            stopping=self._stopping,
            tool_output_bytes=config.worker.tool_output_bytes,
            max_output_tokens=config.models.max_output_tokens,
            context_window_tokens=config.models.context_window_tokens,
            kept=self._kept,
        )


def _first_call(run: Run) -> Recorded | None:
    return next((each for each in run.steps if isinstance(each.event, ModelCalled)), None)


def _model(run: Run) -> str:
    """Return the model that is asked where the agent names none: which it was, was chosen then."""
    for recorded in run.steps:
        if isinstance(recorded.event, RunStarted | ModelCalled):
            return recorded.event.model
    return OFFLINE_MODEL
