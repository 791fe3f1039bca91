"""One conversation as its channel stream tells it: history, the open turn, what is unhandled.

Pure: events in, state out. The channel decides on it; branches and workers render a fork of it.
"""

from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from schemas.base import BodyRef, Content, EventId, Microseconds, Outcome, RunId
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    CheckpointCut,
    CheckpointKind,
    CompactionFailed,
    CompactionRequested,
    ConversationForked,
    FileSent,
    InputRouted,
    MessageReceived,
    Person,
    ReactionAdded,
    ReplySent,
    ResultDelivered,
    RetryRequested,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.schedule import (
    JobDefined,
    JobDeleted,
    JobPaused,
    JobResumed,
    OccurrenceEnded,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
    Target,
)
from schemas.subjects import parse
from services.runtime import chronicle, forks, persistence
from services.runtime.chronicle import Checkpoint
from services.runtime.event_log import Recorded
from services.runtime.forks import Fork
from services.runtime.naming import called
from services.runtime.persistence import Unsaved

SEEN: Final = 1_000  # message ids remembered, so that a platform's repetition is not a new message
FAILED: Final = 200  # given-up turns that can be tried again: a day of an outage in a busy room
EVERYTHING: Final = 1_000_000_000  # entries to keep where checkpoints alone shall shorten a history
PREVIEW: Final = 300  # characters of a task kept for the status block
PRESENT: Final = 5  # people who count as present: those who spoke last


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the history, as a model is shown it for ever after."""

    id: EventId
    seq: int
    role: Literal["user", "assistant"]
    label: str = ""
    """What stands before the text, brackets included; empty for the agent's own replies."""
    text: Content = ""
    at: Microseconds = 0
    """When it was recorded."""
    ours: bool = False
    """Whether a turn did it: it belongs with what stands before it."""
    again: bool = False
    """Whether a checkpoint covers it: shown nevertheless, since it has still to be answered."""
    occurrence: EventId | None = None
    """The occurrence of a job that it belongs to: no other one is shown it."""


class Trigger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that calls for a turn."""

    id: EventId
    at: Microseconds
    message_id: str | None = None
    """Platform id of a person's message; None for a result that came back."""
    person: Person | None = None
    occurrence: EventId | None = None
    """The occurrence of a job that it belongs to."""
    traceparent: str | None = None
    """The trace that its turn goes on with."""


class OpenTurn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The turn that is going on."""

    turn_id: RunId
    owner: str
    holder: EventId | None
    """The event whose delivery the owner holds: its redelivery means that the owner died."""
    seq: int
    """Sequence of its start."""
    at: Microseconds
    """When it started."""
    attempt: int = 1
    effects: tuple[EventId, ...] = ()
    """What it has done so far, so that nothing is done twice."""
    replied: bool = False
    """Whether a reply is among the effects."""
    answered: bool = False
    """Whether a reply, a file or a reaction is."""
    occurrence: EventId | None = None
    """The occurrence of a job that it is for."""
    traceparent: str | None = None
    """Where it is in which trace; whoever takes it over goes on there."""


class ActiveRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A branch or a worker that was requested and has not concluded."""

    run_id: RunId
    kind: Literal["branch", "worker"]
    task: str
    at: Microseconds
    seq: int
    """Sequence of its request: nothing of the run is before it."""
    interactive: bool = False
    waiting: bool = False
    occurrence: EventId | None = None
    """The occurrence of a job that it works for."""


class Occurrence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run of a job that has not ended."""

    id: EventId
    due_at: Microseconds
    attempt: int = 1
    together: bool = False
    """It need not wait for an earlier one."""
    started_at: Microseconds = 0
    """When its first turn started; 0 before."""
    turns: int = 0
    deliver_to: Target | None = None
    """Where its result is told, as it was said when it began: an edit is for later ones."""


class JobStanding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The job that a conversation is the one of."""

    definition: JobDefined
    standing: Literal["active", "paused", "deleted"] = "active"
    horizon: Microseconds = 0
    """Nothing that is defined from now on may hold for times due up to this."""
    open: tuple[Occurrence, ...] = ()


class Compaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A compaction that was requested and has not ended. People have not asked for it."""

    run_id: RunId
    at: Microseconds
    seq: int
    """Sequence of its request."""
    after: EventId | None
    until: EventId
    kind: CheckpointKind
    sources: tuple[EventId, ...] = ()


class Conversation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fold of one channel stream."""

    seq: int = 0
    """Sequence of the last event folded: what the next append expects."""
    at: EventId | None = None
    """Id of that event."""
    entries: tuple[Entry, ...] = ()
    turn: OpenTurn | None = None
    unhandled: tuple[Trigger, ...] = ()
    runs: tuple[ActiveRun, ...] = ()
    retriggers: int = 0
    """Turns since a person last spoke."""
    group: bool = False
    private: bool = False
    """Whether it is a group that only its members can read."""
    shared: bool = False
    """Whether it ever was a group, or more than one person has spoken: nobody's own any more."""
    speaker: Person | None = None
    """Who spoke last."""
    seen: tuple[str, ...] = ()
    failed: tuple[tuple[RunId, tuple[Trigger, ...]], ...] = ()
    taken: tuple[Trigger, ...] = ()
    """Triggers of the last turn that ended, kept for a retry."""
    unsaved: Unsaved = Unsaved()
    """What nobody has looked through for what is worth keeping, and whether somebody does."""
    present: tuple[Person, ...] = ()
    """Who spoke lately, the last one last."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """What stands for the history before `entries`; none that a rollup stands for."""
    cuts: int = 0
    """How many checkpoints were ever cut."""
    aside: tuple[Entry, ...] = ()
    """Entries of failed turns that a checkpoint covers: a retry shows them again."""
    compaction: Compaction | None = None
    compaction_failures: int = 0
    """Compactions that failed since a checkpoint was last cut."""
    compaction_failed_at: Microseconds = 0
    turn_seq: int = 0
    """Sequence at which the newest turn started."""
    job: JobStanding | None = None
    """None where people talk."""
    fork: Fork | None = None
    """None where the history is the conversation's own."""
    forgotten: bool = False
    """Whether entries ever went without a checkpoint in their place."""

    @property
    def focus(self) -> EventId | None:
        """Return the occurrence that the open turn is for, or that the next one will be for."""
        if self.turn is not None:
            return self.turn.occurrence
        ready = _ready(self)
        return ready[0].occurrence if ready else None

    @property
    def taken_in(self) -> tuple[Trigger, ...]:
        """Return what the open turn answers, as far as it is known now."""
        return tuple(t for t in self.unhandled if t.occurrence == self.focus)

    def occurrence(self, id_: EventId | None) -> Occurrence | None:
        """Return the open occurrence of this id, or None."""
        if self.job is None or id_ is None:
            return None
        return next((it for it in self.job.open if it.id == id_), None)

    def run(self, run_id: str) -> ActiveRun | None:
        """Return the active run of this id, one that nobody is told of included, or None."""
        silent = self.unsaved.branch
        if silent is not None and silent.run_id == run_id:
            return ActiveRun(
                run_id=silent.run_id,
                kind="branch",
                task=persistence.TASK,
                at=silent.at,
                seq=silent.seq,
            )
        return next((run for run in self.runs if run.run_id == run_id), None)

    def requested(self, run_id: str) -> int | None:
        """Return the sequence at which a run was requested that has not concluded, or None."""
        if self.compaction is not None and self.compaction.run_id == run_id:
            return self.compaction.seq
        active = self.run(run_id)
        return active.seq if active is not None else None

    @property
    def covered(self) -> EventId | None:
        """Return the last event that a checkpoint covers, or None."""
        return chronicle.end(self.checkpoints)


def evolve(  # noqa: C901, PLR0911, PLR0912, PLR0915 - a case for every event
    state: Conversation, recorded: Recorded, *, keep: int = 200
) -> Conversation:
    """Fold one event of the channel stream.

    Args:
        state: What came before.
        recorded: The next event; an unknown or damaged one only moves the position.
        keep: Entries of history kept. Up to twice as many stay before the older half goes at
            once, so that what a model was shown stays the beginning of what it is shown next.
            What has still to be answered stays, however much it is.
    """
    state = replace(state, seq=recorded.seq, at=recorded.envelope.id)
    id_, at = recorded.envelope.id, recorded.envelope.at
    match recorded.event:
        case MessageReceived() as message:
            return _receive(state, recorded, message, keep)
        case TurnStarted(turn_id=turn_id, owner=owner, occurrence=occurrence):
            turn = OpenTurn(
                turn_id=turn_id,
                owner=owner,
                holder=recorded.envelope.cause,
                seq=recorded.seq,
                at=at,
                occurrence=occurrence,
                traceparent=recorded.envelope.traceparent,
            )
            return replace(_begun(state, occurrence, at), turn=turn, turn_seq=recorded.seq)
        case TurnResumed(owner=owner, attempt=attempt) if state.turn is not None:
            holder = recorded.envelope.cause
            turn = replace(state.turn, owner=owner, attempt=attempt, holder=holder)
            return replace(state, turn=turn)
        case ReplySent(text=text):
            state = _effect(state, id_, answers=True, replies=True)
            return _add(state, recorded, "assistant", "", text, keep)
        case FileSent(name=name, caption=caption):
            state = _effect(state, id_, answers=True)
            return _add(
                state, recorded, "user", f"[you sent the file {called(name)}] ", caption, keep
            )
        case ReactionAdded(emoji=emoji):
            state = _effect(state, id_, answers=True)
            return _add(state, recorded, "user", "[you reacted with] ", emoji, keep)
        case BranchRequested(purpose="persistence"):
            return _noticed(state, recorded)
        case BranchRequested(run_id=run_id, task=task):
            state = _begin(
                _effect(state, id_),
                ActiveRun(
                    run_id=run_id,
                    kind="branch",
                    task=preview(task),
                    at=at,
                    seq=recorded.seq,
                    occurrence=_current(state),
                ),
            )
            return _add(state, recorded, "user", f"[you started branch {run_id}] ", task, keep)
        case WorkerRequested(run_id=run_id, task=task, interactive=interactive, parent=parent):
            asked_by = state.run(parent) if parent else None
            state = _begin(
                _effect(state, id_),
                ActiveRun(
                    run_id=run_id,
                    kind="worker",
                    task=preview(task),
                    at=at,
                    seq=recorded.seq,
                    interactive=interactive,
                    occurrence=asked_by.occurrence if asked_by else _current(state),
                ),
            )
            return _add(state, recorded, "user", f"[worker {run_id} was started] ", task, keep)
        case InputRouted(run_id=run_id, text=text):
            state = _waiting(_effect(state, id_), run_id, waiting=False)
            return _add(state, recorded, "user", f"[you told worker {run_id}] ", text, keep)
        case CancelRequested(run_id=run_id) if _is_silent(state, run_id):
            return state
        case CancelRequested(run_id=run_id, reason=reason):
            state = _effect(state, id_)
            return _add(state, recorded, "user", f"[a stop was asked of {run_id}] ", reason, keep)
        case BranchConcluded(run_id=run_id) if _is_silent(state, run_id):
            return _noticed(state, recorded)
        case BranchConcluded(run_id=run_id, outcome=outcome, conclusion=text, delegated_to=worker):
            label = _label("branch", run_id, outcome)
            concluded = _conclude(state, recorded, run_id, label, text, keep)
            return concluded if worker is None else replace(concluded, unhandled=state.unhandled)
        case WorkerConcluded(run_id=run_id, outcome=outcome, result=text):
            label, run = _label("worker", run_id, outcome), state.run(run_id)
            concluded = _conclude(state, recorded, run_id, label, text, keep)
            return concluded if run is None else _noticed(concluded, recorded, run.occurrence)
        case WorkerReported(run_id=run_id, result=text) if state.run(run_id) is not None:
            state = _waiting(state, run_id, waiting=True)
            return _result(state, recorded, run_id, _label("worker", run_id, "waiting"), text, keep)
        case TurnCompleted(handled=handled):
            return _noticed(_end_turn(state, handled), recorded, _current(state))
        case TurnFailed(turn_id=turn_id, handled=handled):
            ended = _end_turn(state, handled)
            failed = (*ended.failed, (turn_id, ended.taken))[-FAILED:]
            return replace(ended, failed=failed, aside=_still_failed(ended.aside, failed))
        case RetryRequested(turn_id=turn_id):
            return _retry(state, recorded, turn_id)
        case CompactionRequested() | CheckpointCut() | CompactionFailed() as event:
            return _compact(state, recorded, event)
        case ResultDelivered(text=text):
            return _add(state, recorded, "assistant", "", text, keep)
        case ConversationForked() as forked:
            return _fork(state, forked)
        case _:
            return _of_job(state, recorded, keep)


def _fork(state: Conversation, event: ConversationForked) -> Conversation:
    """Begin a fork on what another conversation was; what was at work there is not so here.

    What is shared counts as of the fork's first event, whatever its sequences are elsewhere.
    """
    seq = state.seq
    shown = _in_order(state, event.handled)
    return Conversation(
        seq=seq,
        at=state.at,
        entries=tuple(replace(it, seq=seq) for it in shown if it.occurrence is None),
        unhandled=tuple(
            it for it in state.unhandled if it.id not in event.handled and it.occurrence is None
        ),
        group=state.group,
        private=state.private,
        shared=state.shared,
        speaker=state.speaker,
        seen=state.seen,
        present=state.present,
        checkpoints=tuple(replace(it, seq=seq) for it in state.checkpoints),
        cuts=state.cuts,
        forgotten=state.forgotten,
        fork=forks.begun(state.fork, event),
    )


def _of_job(  # noqa: PLR0911 - a case for every event
    state: Conversation, recorded: Recorded, keep: int
) -> Conversation:
    """Fold what is recorded of a job: in its conversation, each occurrence starts afresh."""
    event, id_, at = recorded.event, recorded.envelope.id, recorded.envelope.at
    if isinstance(event, JobDefined):
        before = state.job
        paused = before is not None and before.standing == "paused"
        job = JobStanding(
            definition=event,
            standing="paused" if paused else "active",
            horizon=max(before.horizon if before else 0, event.effective_at),
            open=before.open if before else (),
        )
        return replace(state, job=job)
    job_now = state.job
    if job_now is None:
        return state
    match event:
        case JobPaused(effective_at=effective):
            return _stands(state, job_now, "paused", effective)
        case JobResumed(effective_at=effective):
            return _stands(state, job_now, "active", effective)
        case JobDeleted(effective_at=effective):
            return _stands(state, job_now, "deleted", effective)
        case OccurrenceSkipped(due_at=due) | OccurrenceMissed(due_at=due):
            return replace(state, job=replace(job_now, horizon=max(job_now.horizon, due)))
        case OccurrenceFired(due_at=due, manual=manual, attempt=attempt):
            together = job_now.definition.overlap == "allow"
            opened = Occurrence(
                id=id_,
                due_at=due,
                attempt=attempt,
                together=together,
                deliver_to=job_now.definition.deliver_to,
            )
            horizon = job_now.horizon if manual else max(job_now.horizon, due)
            job_now = replace(job_now, horizon=horizon, open=(*job_now.open, opened))
            trace = recorded.envelope.traceparent
            trigger = Trigger(id=id_, at=at, occurrence=id_, traceparent=trace)
            state = replace(state, job=job_now, unhandled=(*state.unhandled, trigger))
            label = f"[job {parse(recorded.subject).conversation}] "
            prompt = job_now.definition.prompt
            return _add(state, recorded, "user", label, prompt, keep, occurrence=id_)
        case OccurrenceEnded(occurrence=ended):
            state = _effect(state, id_)
            still = tuple(it for it in job_now.open if it.id != ended)
            return replace(
                state,
                job=replace(job_now, open=still),
                entries=tuple(it for it in state.entries if it.occurrence != ended),
                unhandled=tuple(it for it in state.unhandled if it.occurrence != ended),
            )
        case _:
            return state


def _stands(
    state: Conversation,
    job: JobStanding,
    standing: Literal["active", "paused", "deleted"],
    effective_at: int,
) -> Conversation:
    horizon = max(job.horizon, effective_at)
    return replace(state, job=replace(job, standing=standing, horizon=horizon))


def _begun(state: Conversation, occurrence: EventId | None, at: int) -> Conversation:
    if state.job is None:
        return state
    begun = tuple(
        replace(it, started_at=it.started_at or at, turns=it.turns + 1)
        if it.id == occurrence
        else it
        for it in state.job.open
    )
    return replace(state, job=replace(state.job, open=begun))


def _current(state: Conversation) -> EventId | None:
    return state.turn.occurrence if state.turn is not None else None


def _ready(state: Conversation) -> tuple[Trigger, ...]:
    """Return what a turn may take: of a job's queued occurrences only the first's."""
    if state.job is None:
        return state.unhandled
    first = state.job.open[0].id if state.job.open else None
    return tuple(
        trigger
        for trigger in state.unhandled
        if trigger.occurrence in {None, first}
        or ((it := state.occurrence(trigger.occurrence)) is not None and it.together)
    )


def _receive(
    state: Conversation, recorded: Recorded, message: MessageReceived, keep: int
) -> Conversation:
    if message.message_id in state.seen:
        return state
    id_, at = recorded.envelope.id, recorded.envelope.at
    trigger = Trigger(
        id=id_,
        at=at,
        message_id=message.message_id,
        person=message.author,
        traceparent=recorded.envelope.traceparent,
    )
    state = _add(state, recorded, "user", f"[{called(message.author.name)}] ", message.text, keep)
    for attachment in message.attachments:
        label = f"[{called(message.author.name)} attached {called(attachment.name)}] "
        state = _add(state, recorded, "user", label, attachment.body, keep)
    another = state.speaker is not None and state.speaker.id != message.author.id
    return replace(
        _noticed(state, recorded),
        group=message.group,
        private=message.private,
        shared=state.shared or message.group or another,
        speaker=message.author,
        present=_present(state, message.author),
        seen=(*state.seen, message.message_id)[-SEEN:],
        unhandled=(*state.unhandled, trigger),
    )


def _present(state: Conversation, author: Person) -> tuple[Person, ...]:
    others = tuple(person for person in state.present if person.id != author.id)
    return (*others, author)[-PRESENT:]


def _noticed(
    state: Conversation, recorded: Recorded, occurrence: EventId | None = None
) -> Conversation:
    """Let the event count for what is still to be looked through; runs of jobs and forks do not."""
    if occurrence is not None or state.fork is not None:
        return state
    return replace(state, unsaved=persistence.evolve(state.unsaved, recorded))


def _is_silent(state: Conversation, run_id: RunId) -> bool:
    """Tell whether the run is the persistence branch, of which nobody is told."""
    return state.unsaved.branch is not None and state.unsaved.branch.run_id == run_id


def _add(  # noqa: PLR0913 - an entry has these parts
    state: Conversation,
    recorded: Recorded,
    role: Literal["user", "assistant"],
    label: str,
    text: Content,
    keep: int,
    *,
    occurrence: EventId | None = None,
) -> Conversation:
    id_ = recorded.envelope.id
    entry = Entry(
        id=id_,
        seq=recorded.seq,
        role=role,
        label=label,
        text=text,
        at=recorded.envelope.at,
        ours=state.turn is not None and id_ in state.turn.effects,
        occurrence=occurrence or _current(state),
    )
    entries = (*state.entries, entry)
    if len(entries) <= 2 * keep:
        return replace(state, entries=entries)
    kept = entries[min(len(entries) - keep - 1, _answered(state)) :]
    return replace(state, entries=kept, forgotten=state.forgotten or len(kept) < len(entries))


def _answered(state: Conversation) -> int:
    """Return how many entries, from the oldest, are before whatever has still to be answered."""
    if state.unhandled and state.entries[0].id == state.unhandled[0].id:
        return 0  # the usual case of a flood, which must not be slow
    waiting = {trigger.id for trigger in state.unhandled}
    places = (index for index, entry in enumerate(state.entries) if entry.id in waiting)
    return next(places, len(state.entries))


def _effect(
    state: Conversation, id_: EventId, *, answers: bool = False, replies: bool = False
) -> Conversation:
    turn = state.turn
    if turn is None:
        return state
    turn = replace(
        turn,
        effects=(*turn.effects, id_),
        answered=turn.answered or answers,
        replied=turn.replied or replies,
    )
    return replace(state, turn=turn)


def _begin(state: Conversation, run: ActiveRun) -> Conversation:
    return replace(state, runs=(*state.runs, run))


def _waiting(state: Conversation, run_id: RunId, *, waiting: bool) -> Conversation:
    runs = tuple(
        replace(run, waiting=waiting) if run.run_id == run_id else run for run in state.runs
    )
    return replace(state, runs=runs)


def _conclude(
    state: Conversation, recorded: Recorded, run_id: RunId, label: str, text: Content, keep: int
) -> Conversation:
    if state.run(run_id) is None:
        return state
    state = _result(state, recorded, run_id, label, text, keep)
    return replace(state, runs=tuple(run for run in state.runs if run.run_id != run_id))


def _result(
    state: Conversation, recorded: Recorded, run_id: RunId, label: str, text: Content, keep: int
) -> Conversation:
    """Take in what a run has to say; one that worked for an ended occurrence is not heard."""
    run = state.run(run_id)
    occurrence = run.occurrence if run is not None else None
    if occurrence is not None and state.occurrence(occurrence) is None:
        return state
    state = _add(state, recorded, "user", label, text, keep, occurrence=occurrence)
    trigger = Trigger(
        id=recorded.envelope.id,
        at=recorded.envelope.at,
        occurrence=occurrence,
        traceparent=recorded.envelope.traceparent,
    )
    return replace(state, unhandled=(*state.unhandled, trigger))


def _end_turn(state: Conversation, handled: tuple[EventId, ...]) -> Conversation:
    taken = tuple(trigger for trigger in state.unhandled if trigger.id in handled)
    spoken = any(trigger.message_id is not None for trigger in taken)
    return replace(
        state,
        entries=_in_order(state, handled),
        turn=None,
        unhandled=tuple(trigger for trigger in state.unhandled if trigger.id not in handled),
        taken=taken,
        retriggers=0 if spoken else state.retriggers + 1,
    )


def _retry(state: Conversation, recorded: Recorded, turn_id: RunId) -> Conversation:
    """Make unhandled what a failed turn had taken, and show again what a checkpoint hides of it."""
    again = tuple(
        t
        for failed, ts in state.failed
        if failed == turn_id
        for t in ts
        if t.occurrence is None or state.occurrence(t.occurrence)
    )
    failed = tuple(pair for pair in state.failed if pair[0] != turn_id)
    wanted = {trigger.id for trigger in again}
    shown = [
        replace(entry, seq=recorded.seq, again=True) for entry in state.aside if entry.id in wanted
    ]
    return replace(
        state,
        entries=(*state.entries, *shown),
        unhandled=(*again, *state.unhandled),
        failed=failed,
        aside=_still_failed(state.aside, failed),
    )


def _still_failed(
    aside: tuple[Entry, ...], failed: tuple[tuple[RunId, tuple[Trigger, ...]], ...]
) -> tuple[Entry, ...]:
    wanted = {trigger.id for _, triggers in failed for trigger in triggers}
    return tuple(entry for entry in aside if entry.id in wanted)


def _is_compaction(state: Conversation, run_id: RunId | None) -> bool:
    return state.compaction is not None and state.compaction.run_id == run_id


def _compact(
    state: Conversation,
    recorded: Recorded,
    event: CompactionRequested | CheckpointCut | CompactionFailed,
) -> Conversation:
    """Fold what the compactor says of its work."""
    at = recorded.envelope.at
    match event:
        case CompactionRequested():
            compaction = Compaction(
                run_id=event.run_id,
                at=at,
                seq=recorded.seq,
                after=event.after,
                until=event.until,
                kind=event.kind,
                sources=event.sources,
            )
            return replace(state, compaction=compaction)
        case CheckpointCut():
            return _cut(state, recorded, event)
        case CompactionFailed(run_id=run_id) if not _is_compaction(state, run_id):
            return state
        case CompactionFailed(outcome="cancelled"):
            return replace(state, compaction=None)
        case CompactionFailed():
            failures = state.compaction_failures + 1
            return replace(
                state, compaction=None, compaction_failures=failures, compaction_failed_at=at
            )


def _cut(state: Conversation, recorded: Recorded, cut: CheckpointCut) -> Conversation:
    """Let a checkpoint stand for what it covers; one that does not follow changes nothing."""
    if _is_compaction(state, cut.run_id):
        state = replace(state, compaction=None, compaction_failures=0, compaction_failed_at=0)
    if not can_cut(state, cut):
        return state
    state = replace(
        state,
        checkpoints=chronicle.extended(state.checkpoints, recorded, cut, state.cuts + 1),
        cuts=state.cuts + 1,
    )
    return state if cut.sources else _cover(state, cut.until)


def can_cut(state: Conversation, cut: CheckpointCut) -> bool:
    """Tell whether a checkpoint follows on the last, and leaves alone what the open turn sees new.

    Whoever appends one asks this first, so the log has none that does not.
    """
    if not chronicle.follows(state.checkpoints, cut):
        return False
    until = max((entry.seq for entry in covered_by(state, cut.until)), default=0)
    return bool(cut.sources) or state.turn is None or until < state.turn.seq


def covered_by(state: Conversation, until: EventId) -> tuple[Entry, ...]:
    """Return the entries from the oldest to the last one of an event; none when it is not there."""
    ends = [index for index, entry in enumerate(state.entries, 1) if entry.id == until]
    return state.entries[: ends[-1]] if ends else ()


def _cover(state: Conversation, until: EventId) -> Conversation:
    """Leave out what a checkpoint covers, but not what has still to be answered."""
    covered = covered_by(state, until)
    waiting = {trigger.id for trigger in state.unhandled}
    stay = tuple(replace(entry, again=True) for entry in covered if entry.id in waiting)
    gone = tuple(entry for entry in covered if entry.id not in waiting)
    return replace(
        state,
        entries=(*stay, *state.entries[len(covered) :]),
        aside=_still_failed((*state.aside, *gone), state.failed),
    )


def _in_order(state: Conversation, handled: tuple[EventId, ...]) -> tuple[Entry, ...]:
    """Put what the open turn did behind what it answered, and before what came too late for it.

    So the model, which was shown the answered part alone, finds its own words right behind it, and
    what it still has to answer stands last.
    """
    turn = state.turn
    if turn is None:
        return state.entries
    first = next((i for i, entry in enumerate(state.entries) if entry.seq > turn.seq), None)
    if first is None:
        return state.entries
    since = state.entries[first:]
    covered = max((entry.seq for entry in since if entry.id in handled), default=0)
    done = [entry for entry in since if entry.id in turn.effects]
    came = [entry for entry in since if entry.id not in turn.effects]
    answered = [entry for entry in came if entry.seq <= covered]
    late = [entry for entry in came if entry.seq > covered]
    return (*state.entries[:first], *answered, *done, *late)


def _label(kind: str, run_id: RunId, outcome: Outcome | Literal["waiting"]) -> str:
    return f"[result of {kind} {run_id}] ({outcome})\n"


def calls_for_turn(state: Conversation, *, max_retriggers: int) -> bool:
    """Tell whether a turn should start now.

    A person's message always calls for one. Results that came back do until the agent has taken
    `max_retriggers` turns on its own; then they wait for the next message. A job's do until its
    time is up.
    """
    ready = _ready(state)
    if state.turn is not None or not ready:
        return False
    if any(trigger.message_id is not None or trigger.occurrence for trigger in ready):
        return True
    return state.retriggers < max_retriggers


def last_said(state: Conversation) -> Content:
    """Return what the agent itself said last, as far as the history goes; empty for nothing."""
    said = (entry.text for entry in reversed(state.entries) if entry.role == "assistant")
    return next(said, "")


def preview(content: Content) -> str:
    """Return the beginning of a task for the status block, on one line."""
    text = "a long text" if isinstance(content, BodyRef) else content
    line = " ".join(text.split())
    return line if len(line) <= PREVIEW else line[: PREVIEW - 1] + "…"
