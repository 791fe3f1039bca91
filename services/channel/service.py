"""Run the channel: whoever gets a trigger takes the conversation's turn, by compare-and-append.

Consumes:  what calls for a turn: messages, results that came back, retries, runs of jobs, forks
Emits:     turns and their effects, on the conversation's channel stream; steps on its turn stream
Never:     runs tools that work, searches memory, blocks
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

import structlog

from schemas.base import Content, EventId, RunId
from schemas.channel import ReplySent, TurnCompleted, TurnFailed, TurnResumed, TurnStarted
from schemas.cortex import BriefingWritten
from schemas.run import CallRefused
from schemas.schedule import JobDefined, OccurrenceEnded
from schemas.subjects import Subject, matching, parse
from services.channel import job_tools
from services.channel.preview import Preview
from services.channel.schedule_tool import SCHEDULE
from services.channel.tools import TOOLS, JobIndex, Scope
from services.channel.turn import Turn
from services.errors import Conflict, Fenced, Permanent, Rejected, Transient
from services.runtime import briefings, forks, ids, prompts
from services.runtime.agents import Agent, Agents, UnknownAgent
from services.runtime.bodies import content
from services.runtime.briefings import Briefings
from services.runtime.budgets.wording import for_people, told
from services.runtime.config import ChannelSettings
from services.runtime.conversation import Conversation, Trigger, calls_for_turn, last_said
from services.runtime.conversations import Conversations, history
from services.runtime.event_log import Delivery, Recorded
from services.runtime.jobs.desk import Jobs
from services.runtime.journal import Journal
from services.runtime.run_decider import Finish, Profile, Wait
from services.runtime.run_loop import Context, Equipment, RunLoop
from services.runtime.sandbox.workspace import Workspace
from services.runtime.telemetry import context as trace
from services.runtime.tool import Tool
from services.runtime.writer import Writer

DURABLE: Final = "channel"  # names our read position in the log: never rename
PATTERN: Final = matching(entity="channel")
TRIGGERS: Final = frozenset(
    {
        "message_received",
        "branch_concluded",
        "worker_concluded",
        "worker_reported",
        "retry_requested",
        "occurrence_fired",
        "occurrence_ended",  # what is queued behind it may begin
        "conversation_forked",  # what it shares may have something unanswered
    }
)
TURN_TOOLS: Final = (*TOOLS, SCHEDULE)  # appended to, never inserted into
APOLOGY: Final = (
    "I could not answer this: {reason}. Nothing is lost; it is on the dead-letter list and can be "
    "tried again."
)

MOST_TURNS: Final = 20  # of one run of a job, which would otherwise go in circles for all its time
LEAST_S: Final = 0.001  # what a run that is out of time still gets, to end

log = structlog.get_logger()


class Busy(Transient):
    """This process already runs the turn whose trigger came again."""


class Statuses(Protocol):
    """Where the latest words of running workers are found; empty when they cannot be had now."""

    async def of(self, tenant: str, run_ids: list[str]) -> dict[str, str]:
        """Return status by run id."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the channel is made of."""

    writer: Writer
    equipment: Equipment
    conversations: Conversations
    agents: Agents
    settings: ChannelSettings
    profile: Profile
    statuses: Statuses
    workspace: "WorkspaceOf"
    default_model: str
    briefings: Briefings
    jobs: Jobs
    job_index: JobIndex


class WorkspaceOf(Protocol):
    """Finds the workspace of an agent."""

    def __call__(self, tenant: str, agent: str) -> Workspace:
        """Return it, made if need be."""
        ...


class Channel:
    """Answers conversations; any number of replicas share the work."""

    tools: Sequence[Tool[Scope, Any]] = TURN_TOOLS
    tools_for_jobs: Sequence[Tool[Scope, Any]] = job_tools.JOB_TOOLS

    def __init__(self, parts: Parts) -> None:
        self._with = parts
        self._owner = ids.owner(DURABLE)
        self._driving: set[RunId] = set()
        self._sections = prompts.load("services.channel", "channel.md")
        self._job_sections = prompts.load("services.channel", "job.md")

    async def run(self) -> None:
        """Consume until asked to stop."""
        await self._with.writer.log.consume(
            DURABLE,
            [PATTERN],
            self.handle,
            types=TRIGGERS,
            concurrency=256,
            stop=self._with.equipment.stopping,
        )

    async def handle(self, delivery: Delivery) -> None:
        """Bring the conversation of a trigger to rest; safe to repeat for the same event.

        Raises:
            Fenced: another replica took over.
            Busy, LogUnavailable, ModelUnavailable: the delivery should come again.
        """
        subject = parse(delivery.recorded.subject)
        trigger = delivery.recorded.envelope.id
        state = await self._with.conversations.at_least(subject, delivery.recorded.seq)
        may_resume = delivery.redelivered
        while True:
            if state.turn is not None:
                if state.turn.holder != trigger:
                    return  # its owner cannot complete it without seeing this trigger
                if not may_resume:  # not ours to acknowledge: its owner holds it as well
                    raise Fenced(f"{trigger} was delivered to somebody else too")
                if state.turn.turn_id in self._driving:
                    raise Busy(f"turn {state.turn.turn_id} is still running here")
                claim = await self._resume(subject, trigger, state)
            elif calls_for_turn(state, max_retriggers=self._with.settings.max_retriggers):
                claim = await self._start(subject, trigger, state)
            else:
                return
            if claim is not None:
                turn, journal = claim
                await self._drive(turn, journal)
                may_resume = False
                state = turn.state  # all that came before the turn's end
                continue
            before, state = state, await self._with.conversations.newest(subject)
            if _taken_over(before, state):
                raise Fenced(f"{trigger} was delivered to somebody else too, who resumed the turn")

    # -- claiming ----------------------------------------------------------------------------

    async def _start(
        self, subject: Subject, trigger: EventId, state: Conversation
    ) -> tuple[Turn, Journal] | None:
        turn_id = RunId(ids.new())
        first = state.taken_in[0]
        trace.go_on(first.traceparent, first.id)
        event = TurnStarted(turn_id=turn_id, owner=self._owner, occurrence=state.focus)
        journal = self._journal(subject, turn_id, trigger)
        turn, _ = await asyncio.gather(
            self._claim(subject, trigger, state, turn_id, event), journal.find_end()
        )
        return None if turn is None else (turn, journal)

    async def _resume(
        self, subject: Subject, trigger: EventId, state: Conversation
    ) -> tuple[Turn, Journal] | None:
        if state.turn is None:
            return None
        turn_id, attempt = state.turn.turn_id, state.turn.attempt + 1
        trace.go_on(state.turn.traceparent)
        event = TurnResumed(turn_id=turn_id, owner=self._owner, attempt=attempt)
        turn = await self._claim(subject, trigger, state, turn_id, event)
        return None if turn is None else (turn, self._journal(subject, turn_id, trigger))

    async def _claim(
        self,
        subject: Subject,
        trigger: EventId,
        state: Conversation,
        turn_id: RunId,
        event: TurnStarted | TurnResumed,
    ) -> Turn | None:
        """Return the turn when the claim won, None when somebody was faster."""
        envelope = self._with.writer.seal(event, cause=trigger, turn=turn_id)
        try:
            seq = await self._with.writer.log.append_if(str(subject), state.seq, envelope)
        except Conflict:
            return None
        recorded = Recorded(seq, str(subject), envelope, event, b"")
        now = self._with.conversations.appended(subject, state.seq, recorded)
        return Turn(
            subject=subject,
            turn_id=turn_id,
            attempt=1 if isinstance(event, TurnStarted) else event.attempt,
            holder=trigger,
            conversations=self._with.conversations,
            writer=self._with.writer,
            state=now or await self._with.conversations.at_least(subject, seq),
        )

    # -- driving -----------------------------------------------------------------------------

    async def _drive(self, turn: Turn, journal: Journal) -> None:
        self._driving.add(turn.turn_id)
        try:
            await self._drive_claimed(turn, journal)
        except (Permanent, Rejected) as error:
            # no repetition would help, and the conversation must go on
            await self._give_up(turn, _ids(turn.state.taken_in), str(error), turn.attempt)
        finally:
            self._driving.discard(turn.turn_id)

    async def _drive_claimed(self, turn: Turn, journal: Journal) -> None:
        attempt = turn.attempt
        await self._take(turn, journal)
        if attempt > self._with.settings.attempts:
            handled = await self._handled(turn, journal)
            reason = journal.state.failure.detail if journal.state.failure else "it kept failing"
            await self._give_up(turn, handled, reason, attempt - 1)
            return
        occurrence = turn.state.occurrence(turn.check().occurrence)
        if occurrence is not None and occurrence.turns > MOST_TURNS:
            reason = f"it came to no outcome in {MOST_TURNS} turns"
            await self._give_up(turn, await self._handled(turn, journal), reason, attempt)
            return
        if journal.state.context is None:
            await self._settle_down(turn)
        triggers: list[Trigger] = []

        async def context() -> Context:
            made, taken = await self._context(turn, journal)
            triggers[:] = taken
            return made

        try:
            agent = await self._agent(turn)
        except UnknownAgent as error:
            await self._give_up(turn, _ids(turn.state.taken_in), str(error), attempt)
            return
        job = _job(turn)
        preview = Preview(self._with.equipment.live, turn.subject, turn.turn_id)
        loop = RunLoop(
            journal,
            self._profile(turn.state),
            self._equipment(turn.state),
            model=(job and job.model) or agent.model or self._with.default_model,
            tools=self.tools_for_jobs if job else self.tools,
            scope=self._scope(turn),
            context=context,
            on_delta=preview.feed,
        )
        end = await loop.drive()
        handled = _ids(triggers) if triggers else await self._handled(turn, journal)
        await self._finish(turn, journal, end, handled)

    async def _agent(self, turn: Turn) -> Agent:
        """Return the agent as it is in this conversation."""
        agent = await self._with.agents.get(turn.subject.tenant, turn.subject.agent or "")
        return await forks.as_there(agent, turn.state.fork, self._with.equipment.bodies)

    def _journal(self, subject: Subject, turn_id: RunId, trigger: EventId) -> Journal:
        journal = Journal(
            self._with.writer,
            self._with.equipment.bodies,
            str(subject.of("turn")),
            turn_id,
            owner=self._owner,
        )
        journal.on_behalf_of(turn_id, trigger)
        return journal

    async def _take(self, turn: Turn, journal: Journal) -> None:
        """Make the steps ours that belong to a turn which we have claimed.

        Raises:
            Fenced: another replica has taken it over since.
        """
        started = turn.check().seq
        if turn.attempt == 1:
            journal.adopt(started)
            return
        await journal.load(after=started, shared=True)
        await journal.resume(holder=turn.holder, attempt=turn.attempt)

    async def _settle_down(self, turn: Turn) -> None:
        """Wait until people, or results that arrive together, have come to a pause."""
        settings, clock = self._with.settings, self._with.writer.clock
        # Messages bear the time of the machines that took them in: by a clock that is ahead of
        # ours the pause would begin late, so we wait no longer in all than a pause may last.
        left = max(settings.coalesce_max_wait_ms, settings.retrigger_debounce_ms) * 1_000
        while (wait := min(_pause(turn.state, settings) - clock.now(), left)) > 0:
            left -= wait
            await clock.sleep(wait / 1_000_000)
            await turn.refresh()

    async def _context(self, turn: Turn, journal: Journal) -> tuple[Context, list[Trigger]]:
        """Return what the model is shown and what it thereby answers."""
        at = journal.state.context
        if at is not None:
            state = await self._with.conversations.up_to(turn.subject, at)
        else:
            state = turn.state
            at = state.at
        agent = await self._agent(turn)
        briefing = await self._with.briefings.newest(agent.tenant, agent.id)
        context = Context(
            system=prompts.system_prompt(
                agent,
                self._job_sections if _job(turn) else self._sections,
                briefings.shown(briefing, forks.home(turn.subject, state.fork)),
            ),
            history=await history(state, self._with.equipment.bodies),
            at=at,
            note=await self._note(turn.subject, state, briefing)
            if journal.state.note is None
            else "",
        )
        return context, list(state.taken_in)

    async def _handled(self, turn: Turn, journal: Journal) -> tuple[EventId, ...]:
        """Return what this turn answers, from its recorded context."""
        if journal.state.context is None:
            return _ids(turn.state.taken_in)
        state = await self._with.conversations.up_to(turn.subject, journal.state.context)
        return _ids(state.taken_in)

    async def _note(
        self, subject: Subject, state: Conversation, briefing: BriefingWritten | None
    ) -> str:
        lines = [prompts.time_note(self._with.writer.clock)]
        room = self._with.briefings.people_tokens
        if people := briefings.present(state.present, briefing, tokens=room):
            lines.append(people)
        active = [run for run in state.runs if run.occurrence == state.focus]
        if not active:
            lines.append("No branches or workers are active.")
            return "\n".join(lines)
        workers = [run.run_id for run in active if run.kind == "worker"]
        statuses = await self._with.statuses.of(subject.tenant, list(workers)) if workers else {}
        lines.append("Active:")
        for run in active:
            seconds = max(self._with.writer.clock.now() - run.at, 0) // 1_000_000
            said = statuses.get(run.run_id, "")
            what = "waiting for input" if run.waiting else f"running {seconds} s"
            lines.append(
                f"- {run.kind} {run.run_id}: {run.task} | {said or 'no status yet'} | {what}"
            )
        return "\n".join(lines)

    def _profile(self, state: Conversation) -> Profile:
        if (left_s := self._left_s(state)) is not None and state.turn is not None:
            spent_s = (self._with.writer.clock.now() - state.turn.at) / 1_000_000
            tools = frozenset({"set_outcome"})
            return replace(
                self._with.profile,
                max_calls=self._with.settings.job_turns,
                total_s=spent_s + left_s,  # a limit of the turn, counted from its start
                ending_tools=tools,
            )
        spoken = any(trigger.message_id is not None for trigger in state.taken_in)
        settings = self._with.settings
        most = settings.max_turns if spoken else settings.retrigger_turns
        return replace(self._with.profile, max_calls=most)

    def _equipment(self, state: Conversation) -> Equipment:
        left_s = self._left_s(state)
        if left_s is None or state.job is None:
            return self._with.equipment
        longest = min(left_s, state.job.definition.inactivity_s)
        return replace(self._with.equipment, step_s=min(longest, self._with.equipment.step_s))

    def _left_s(self, state: Conversation) -> float | None:
        """Return the seconds that the occurrence of the open turn has left; None without one."""
        if state.turn is None or state.turn.occurrence is None or state.job is None:
            return None
        occurrence = state.occurrence(state.turn.occurrence)
        if occurrence is None:
            return LEAST_S
        used = (self._with.writer.clock.now() - occurrence.started_at) / 1_000_000
        return max(state.job.definition.timeout_s - used, LEAST_S)

    def _scope(self, turn: Turn) -> Scope:
        subject = turn.subject
        return Scope(
            turn=turn,
            bodies=self._with.equipment.bodies,
            workspace=self._with.workspace(subject.tenant, subject.agent or ""),
            max_branches=self._with.settings.max_branches,
            max_workers=self._with.settings.max_workers,
            jobs=self._with.jobs,
            job_index=self._with.job_index,
        )

    # -- ending ------------------------------------------------------------------------------

    async def _finish(
        self, turn: Turn, journal: Journal, end: Finish | Wait, handled: tuple[EventId, ...]
    ) -> None:
        state = journal.state
        if state.refusal is not None and _job(turn) is None:
            await self._refuse(turn, journal, state.refusal, handled)
            return
        if isinstance(end, Finish) and _job(turn) is not None and end.outcome == "timed_out":
            await self._time_out(turn, end.result, end.reason)
            await self._complete(turn, journal, handled, end)
            return
        failed = isinstance(end, Finish) and end.outcome in {"failed", "timed_out"}
        if failed and isinstance(end, Finish):
            failure = state.failure
            may_pass = failure is not None and failure.reason == "unavailable"
            if may_pass and turn.attempt < self._with.settings.attempts:
                raise Transient(f"no model answered: {end.reason}")
            await self._give_up(turn, handled, end.reason or "no answer came", state.attempt)
            return
        if _job(turn) is not None:
            await self._conclude(turn, end, state.refusal)
            await self._complete(turn, journal, handled, end)
            return
        replied = turn.state.turn is not None and turn.state.turn.replied
        if end.result and not replied and "skip" not in state.ok_tools:
            await turn.effect(ReplySent(turn_id=turn.turn_id, text=end.result), "text")
        answered = turn.state.turn is not None and turn.state.turn.answered
        silence: Literal["skipped", "silent"] = "skipped" if "skip" in state.ok_tools else "silent"
        await turn.end(
            TurnCompleted(
                turn_id=turn.turn_id,
                handled=handled,
                outcome="replied" if answered else silence,
                reason=end.reason if isinstance(end, Finish) else "",
                tool_calls=_called(journal),
            )
        )

    async def _refuse(
        self, turn: Turn, journal: Journal, refusal: CallRefused, handled: tuple[EventId, ...]
    ) -> None:
        """End a turn that no budget has room for, with a plain sentence that no model wrote.

        It is not said twice in a row to nobody in particular: not in a group, and not where a
        result came back that nobody asks about now.
        """
        said = for_people(refusal.shortage)
        open_turn = turn.check()
        asked = not turn.state.group and any(
            trigger.message_id is not None for trigger in turn.state.taken_in
        )
        known = last_said(turn.state) == said
        if not open_turn.replied and (asked or not known):
            await turn.effect(ReplySent(turn_id=turn.turn_id, text=said), "budget")
        answered = turn.state.turn is not None and turn.state.turn.answered
        await turn.end(
            TurnCompleted(
                turn_id=turn.turn_id,
                handled=handled,
                outcome="replied" if answered else "silent",
                reason=told(refusal.shortage),
                tool_calls=_called(journal),
            )
        )

    async def _conclude(
        self, turn: Turn, end: Finish | Wait, refusal: CallRefused | None = None
    ) -> None:
        """End the occurrence of a job's turn, unless something is still at work for it."""
        occurrence = turn.check().occurrence
        if occurrence is None or any(run.occurrence == occurrence for run in turn.state.runs):
            return
        outcome = end.outcome if isinstance(end, Finish) else "succeeded"
        reason = end.reason if isinstance(end, Finish) else ""
        ended = OccurrenceEnded(
            occurrence=occurrence,
            outcome=outcome,
            text=end.result,
            reason=reason,
            budget=refusal.shortage.budget if refusal is not None else None,
        )
        await job_tools.conclude(turn, ended)

    async def _time_out(self, turn: Turn, said: Content, reason: str) -> None:
        """End the occurrence of a job's turn with what there is of it."""
        occurrence = turn.check().occurrence
        if occurrence is not None:
            said = said or job_tools.last_result(turn.state, occurrence)
            outcome: Literal["partial", "timed_out"] = "partial" if said else "timed_out"
            ended = OccurrenceEnded(
                occurrence=occurrence, outcome=outcome, text=said, reason=reason
            )
            await job_tools.conclude(turn, ended)

    async def _complete(
        self, turn: Turn, journal: Journal, handled: tuple[EventId, ...], end: Finish | Wait
    ) -> None:
        await turn.end(
            TurnCompleted(
                turn_id=turn.turn_id,
                handled=handled,
                outcome="silent",
                reason=end.reason if isinstance(end, Finish) else "",
                tool_calls=_called(journal),
            )
        )

    async def _give_up(
        self, turn: Turn, handled: tuple[EventId, ...], reason: str, attempts: int
    ) -> None:
        """End the turn as failed, with an honest sentence for the people.

        A run of a job fails itself: it is tried again, or held back, as the job says.
        """
        occurrence = turn.check().occurrence
        if occurrence is not None:
            ended = OccurrenceEnded(occurrence=occurrence, outcome="failed", reason=reason[:1_000])
            await job_tools.conclude(turn, ended)
            await turn.end(
                TurnCompleted(
                    turn_id=turn.turn_id, handled=handled, outcome="silent", reason=reason[:1_000]
                )
            )
            return
        apology = APOLOGY.format(reason=reason.rstrip(".") or "an unknown failure")
        text = await content(self._with.equipment.bodies, apology)
        await turn.effect(ReplySent(turn_id=turn.turn_id, text=text), "apology")
        await turn.end(
            TurnFailed(
                turn_id=turn.turn_id, handled=handled, reason=reason, attempts=max(attempts, 1)
            )
        )


def _job(turn: Turn) -> JobDefined | None:
    """Return the job that a turn is a run of; None where people talk."""
    occurs = turn.state.turn is not None and turn.state.turn.occurrence is not None
    return turn.state.job.definition if occurs and turn.state.job is not None else None


def _called(journal: Journal) -> int:
    """Return how many tools a turn has called."""
    return sum(len(line.tool_calls) for line in journal.state.lines)


def _taken_over(before: Conversation, now: Conversation) -> bool:
    """Tell whether somebody resumed the open turn that we were about to resume."""
    if before.turn is None or now.turn is None or before.turn.turn_id != now.turn.turn_id:
        return False
    return now.turn.attempt > before.turn.attempt


def _ids(triggers: Sequence[Trigger]) -> tuple[EventId, ...]:
    return tuple(trigger.id for trigger in triggers)


def _pause(state: Conversation, settings: ChannelSettings) -> int:
    """Return when the turn may start, UTC microseconds."""
    taken = [it for it in state.taken_in if it.id != it.occurrence]  # a job begins at once
    messages = [trigger.at for trigger in taken if trigger.message_id is not None]
    results = [trigger.at for trigger in taken if trigger.message_id is None]
    until = 0
    if results:
        until = max(results) + settings.retrigger_debounce_ms * 1_000
    if messages and state.group:
        quiet = max(messages) + settings.coalesce_debounce_ms * 1_000
        until = max(until, min(quiet, min(messages) + settings.coalesce_max_wait_ms * 1_000))
    return until
