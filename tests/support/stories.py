"""Random but valid histories of an installation: the same seed tells the same story.

Every kind of event occurs, in an order that the services would give it, with texts that are hard
to store; and what they would never write but a damaged or newer log may hold: an event twice, a
body that is no envelope, a type that nobody knows.
"""

from collections.abc import Callable
from functools import partial
from random import Random

import msgspec

from schemas.base import AgentId, BodyRef, DocumentId, EventId, GoalId, MemoryId, RunId, TaskId
from schemas.channel import (
    Attachment,
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    CheckpointCut,
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
from schemas.config import AgentDefined, AgentRetired
from schemas.cortex import (
    BriefingWritten,
    DaySummarised,
    KnowledgeSynthesised,
    Layer,
    Line,
    MemoriesAssociated,
    PersonKnown,
    SynthesisFailed,
    SynthesisRequested,
)
from schemas.dead import DeliveryParked, DeliveryRetried
from schemas.envelope import encode, seal
from schemas.goals import GoalClosed, GoalCommented, GoalCreated, GoalEdited, GoalReopened
from schemas.ingest import (
    Chunk,
    ChunksRemoved,
    ChunksStored,
    DocumentForgotten,
    DocumentIngested,
    DocumentReceived,
    DocumentRefused,
    DocumentSplit,
)
from schemas.memory import (
    MemoryForgotten,
    MemoryLinked,
    MemorySaved,
    MemoryTouched,
    Replaced,
)
from schemas.people import PersonLinked, PersonUnlinked
from schemas.run import (
    CallRefused,
    ContextTrimmed,
    InputReceived,
    ModelCalled,
    ModelFailed,
    ModelReturned,
    Noted,
    RunEnded,
    RunResumed,
    RunStarted,
    RunWaiting,
    StatusSet,
    ToolCall,
    ToolCalled,
    ToolReturned,
    Usage,
)
from schemas.schedule import (
    DeliveryRefused,
    JobDefined,
    JobDeleted,
    JobPaused,
    JobResumed,
    OccurrenceDelivered,
    OccurrenceEnded,
    OccurrenceFired,
    OccurrenceMissed,
    OccurrenceSkipped,
    Schedule,
    Target,
)
from schemas.spend import Shortage, SpendReserved, SpendSettled
from schemas.subjects import Subject
from schemas.tasks import (
    TaskApproved,
    TaskAttemptEnded,
    TaskCancelled,
    TaskCommented,
    TaskCompleted,
    TaskCreated,
    TaskDeferred,
    TaskDependencyAdded,
    TaskDependencyRemoved,
    TaskEdited,
    TaskQueued,
    TaskReopened,
    TaskStarted,
    TaskStepChecked,
)
from services.runtime.event_log import Recorded
from services.runtime.recording import record

TENANTS = ("acme", "globex")
AGENTS = ("atlas", "Böb 2")
TEXTS = (
    "our release day is Thursday",
    "",
    "nul \x00 in the middle, \\u0000 spelled out, \\\x00",
    "quotes ' \" and back\\slashes; DROP TABLE runs; -- %s %(x)s {}",
    "emoji 👩‍👩‍👧, right-to-left שלום, 東京タワー\u2028line\ttab\r\n",
    "[]{}null",
    "long " * 400,
)
SHA = "ab" * 32
START = 1_700_000_000_000_000


class Story:
    """Events of one installation, as they would be in its log."""

    def __init__(self, seed: int = 0) -> None:
        self.random = Random(seed)  # noqa: S311 - not for secrets
        self.forking = Random(seed)  # noqa: S311 - apart, so that it changes little else
        self.budgets = Random(seed)  # noqa: S311 - likewise
        self.stored: list[tuple[str, bytes]] = []
        self.ids = 0
        self.conversations = [
            Conversation(self, Subject(tenant, agent, "portal", name))
            for tenant in TENANTS
            for agent in AGENTS
            for name in ("general", "Ünï code")
        ]
        self.memories: list[tuple[Subject, MemoryId]] = []
        self.jobs: list[Job] = [
            Job(self, Subject(tenant, agent, "cron", name))
            for tenant in TENANTS
            for agent in AGENTS
            for name in ("digest", "Ünï job")
        ]
        self.tasks: list[str] = []

    def tell(self, events: int) -> list[Recorded]:
        """Go on until there are so many events; return them."""
        while len(self.stored) < events:
            self.go_on()
        return self.recorded()[:events]

    def go_on(self) -> None:
        """Let one thing happen."""
        self.random.choices(
            (
                *(self._conversation, self._memory, self._cortex, self._agent),
                *(self._dead, self._damage, self._person, self._document),
                *(self._task, self._goal, self._job),
            ),
            weights=(90, 5, 2, 1, 1, 1, 1, 2, 3, 1, 5),
        )[0]()

    def recorded(self) -> list[Recorded]:
        """Return the events told so far."""
        return [record(seq, *stored) for seq, stored in enumerate(self.stored, start=1)]

    def add(self, subject, event, *, turn=None, cause=None) -> EventId:
        """Store an event."""
        id_ = self.id("e")
        at = START + len(self.stored) * 1_000
        envelope = seal(event, id=id_, at=at, actor="test", turn=turn, cause=cause)
        self.stored.append((str(subject), encode(envelope)))
        return id_

    def id(self, prefix: str) -> EventId:
        """Return a new id, random like a derived one."""
        self.ids += 1
        return EventId(f"{prefix}-{self.random.getrandbits(64):016x}-{self.ids}")

    def text(self):
        """Return some content, rarely by reference."""
        if self.random.random() < 0.1:
            return BodyRef(sha256=SHA, bytes=self.random.randrange(10**9))
        return self.random.choice(TEXTS)

    def _conversation(self) -> None:
        conversation = self.random.choice(self.conversations)
        conversation.go_on()
        if conversation.said is not None and self.forking.random() < 0.005:
            self._fork(conversation.subject, conversation.said)

    def _fork(self, parent: Subject, at: EventId) -> None:
        fork = Conversation(self, parent._replace(adapter="fork", conversation=self.id("f")))
        forked = ConversationForked(
            adapter=parent.adapter,
            conversation=parent.conversation,
            at=at,
            model=self.forking.choice((None, "offline/rules")),
            prompt=self.forking.choice((None, *TEXTS)),
        )
        self.add(fork.subject.channel, forked)
        self.conversations.append(fork)

    def _job(self) -> None:
        self.random.choice(self.jobs).go_on()

    def _memory(self) -> None:
        if self.memories and self.random.random() < 0.3:
            subject, id_ = self.memories.pop(self.random.randrange(len(self.memories)))
            self.add(subject, MemoryForgotten(memory_id=id_, reason=self.random.choice(TEXTS)))
            return
        subject = Subject(self.random.choice(TENANTS), self.random.choice(AGENTS), entity="memory")
        mine = [id_ for owner, id_ in self.memories if owner == subject]
        if mine and self.random.random() < 0.2:
            self.add(subject, MemoryTouched(memory_id=self.random.choice(mine)))
            return
        if len(mine) > 1 and self.random.random() < 0.2:
            one, other = self.random.sample(mine, 2)
            self.add(subject, MemoryLinked(memory_id=one, to=other, relation="caused_by"))
            return
        replaced = [Replaced(memory_id=id_, why="duplicate") for id_ in mine[-1:]]
        id_ = MemoryId(self.id("m"))
        saved = MemorySaved(
            memory_id=id_,
            kind=self.random.choice(("fact", "preference", "todo")),
            text=self.text(),
            importance=self.random.random(),
            scope=self.random.choice(("person", "channel", "agent", "tenant")),
            person=self.random.choice((None, "portal:ana")),
            conversation=self.random.choice((None, "portal/general")),
            valid_from=self.random.choice((None, START)),
            replaces=self.random.choice(((), tuple(replaced))),
        )
        self.add(subject, saved)
        self.memories.append((subject, id_))

    def _cortex(self) -> None:
        subject = Subject(
            self.random.choice(TENANTS), self.random.choice(AGENTS), entity="cortex", id="briefing"
        )
        text = self.random.choice(TEXTS)
        mine = [id_ for owner, id_ in self.memories if owner == subject.of("memory")]
        line = Line(text=text, memory_id=mine[-1] if mine else None)
        run_id = RunId(self.id("s"))
        match self.random.randrange(4):
            case 0:
                layers = (Layer(name="today", lines=(line,), day="2026-11-24", left_out=1),)
                people = (PersonKnown(person="portal:ana", line=line),)
                self.add(subject, BriefingWritten(layers=layers, people=people))
            case 1:
                summary = DaySummarised(
                    day="2026-11-24", zone="UTC", begin=0, until=1, messages=2, lines=(line,)
                )
                self.add(subject._replace(id="days"), summary)
            case 2:
                self._synthesis(subject._replace(id="knowledge"), run_id, tuple(mine))
            case _:
                done = MemoriesAssociated(memory_ids=tuple(mine), links=len(mine))
                self.add(subject._replace(id="associations"), done)

    def _synthesis(self, subject, run_id, memories) -> None:
        asked = {"run_id": run_id, "graph": SHA}
        self.add(subject, SynthesisRequested(**asked, memories=memories, source=self.text()))
        stream = subject.of("synthesis", run_id)
        self.add(stream, RunStarted(run_id=run_id, kind="synthesis", owner="c-1", task="do"))
        outcome = self.random.choice(("succeeded", "failed"))
        self.add(stream, RunEnded(run_id=run_id, outcome=outcome, result=self.text()))
        if outcome == "failed":
            self.add(subject, SynthesisFailed(**asked, reason=self.random.choice(TEXTS)))
            return
        self.add(subject, KnowledgeSynthesised(**asked, memories=memories, text=self.text()))

    def _agent(self) -> None:
        subject = Subject(self.random.choice(TENANTS), entity="config")
        agent = AgentId(self.random.choice(AGENTS))
        if self.random.random() < 0.3:
            self.add(subject, AgentRetired(agent=agent))
            return
        model = self.random.choice((None, "offline/rules"))
        text = self.random.choice(TEXTS)
        self.add(subject, AgentDefined(agent=agent, name="Atlas", instructions=text, model=model))

    def _dead(self) -> None:
        conversation = self.random.choice(self.conversations)
        subject = conversation.subject.of("dead")
        seq = self.random.randrange(1, 5)
        where = {"durable": "channel", "subject": str(conversation.subject.channel), "seq": seq}
        if self.random.random() < 0.6:
            self.add(subject, DeliveryParked(**where, reason=self.random.choice(TEXTS)))
        else:
            self.add(subject, DeliveryRetried(**where))

    def _person(self) -> None:
        subject = Subject(self.random.choice(TENANTS), entity="people")
        one, other = self.random.sample(("portal:ana", "slack:U1", "discord:7"), 2)
        if self.random.random() < 0.3:
            self.add(subject, PersonUnlinked(person=one))
        else:
            self.add(subject, PersonLinked(person=one, same_as=other))

    def _document(self) -> None:
        """Let a document be handed in, as new or with other content, and perhaps be forgotten."""
        number = self.random.randrange(6)
        id_ = DocumentId(f"d-{number}")
        subject = Subject(
            self.random.choice(TENANTS), self.random.choice(AGENTS), entity="ingest", id=id_
        )
        name = f"notes/{number}.md"
        if self.random.random() < 0.2:
            self.add(subject, DocumentForgotten(document_id=id_, reason="old"))
            return
        if self.random.random() < 0.2:
            refused = DocumentRefused(
                document_id=id_, name=name, reason="link", detail=self.random.choice(TEXTS)
            )
            self.add(subject, refused)
            return
        size = self.random.randrange(10**7)
        body = BodyRef(sha256=f"{number:064x}", bytes=size, media_type="text/markdown")
        received = self.add(subject, DocumentReceived(document_id=id_, name=name, body=body))
        mine = {"document_id": id_, "received": received}
        if self.random.random() < 0.2:
            why = {"reason": "encrypted", "detail": "a password", "content_bytes": size}
            refused = DocumentRefused(**mine, name=name, **why, content_sha256=body.sha256)
            self.add(subject, refused)
            return
        hashes = [f"{self.random.randrange(12):064x}" for _ in range(3)]
        chunks = tuple(
            Chunk(
                sha256=sha256,
                rank=self.random.randrange(1, 2**40),
                text=self.random.choice(TEXTS),
                heading=self.random.choice(TEXTS),
            )
            for sha256 in hashes
        )
        self.add(subject, DocumentSplit(**mine, chunks=3, to_store=3))
        self.add(subject, ChunksStored(**mine, chunks=chunks))
        if self.random.random() < 0.5:
            self.add(subject, ChunksRemoved(**mine, chunks=tuple(sorted(set(hashes[:2])))))
        if self.random.random() < 0.9:
            self.add(subject, DocumentIngested(**mine, chunks=3))

    def _task(self) -> None:
        """Let a task be created where there is none, or go on."""
        number = self.random.randrange(1, 4)
        id_ = TaskId(f"T{number}")
        owner = Subject(self.random.choice(TENANTS), self.random.choice(AGENTS), entity="task")
        subject = owner.of("task", id_)
        text, plan = self.random.choice(TEXTS), tuple(self.random.sample(TEXTS, 2))
        mine, run_id = {"task_id": id_}, RunId(f"attempt-{number}")
        if str(subject) not in self.tasks:
            self.tasks.append(str(subject))
            state = self.random.choice(("pending_approval", "backlog", "ready"))
            created = TaskCreated(
                **mine, title=text, state=state, description=self.text(), plan=plan
            )
            self.add(subject, created)
            return
        other = TaskId(f"T{self.random.randrange(1, 4)}")
        match self.random.randrange(8):
            case 0:
                edited = TaskEdited(**mine, title=text, plan=plan, state="pending_approval")
                self.add(subject, self.random.choice((edited, TaskEdited(**mine, goal=""))))
            case 1:
                self.add(subject, TaskApproved(**mine, state="ready", reason=text))
                started = TaskStarted(**mine, attempt=1, run_id=run_id, conversation="portal/x")
                self.add(subject, started)
            case 2:
                ended = {"outcome": self.random.choice(("succeeded", "failed"))}
                ended |= {"state": self.random.choice(("done", "backlog", None))}
                self.add(
                    subject, TaskAttemptEnded(**mine, run_id=run_id, result=self.text(), **ended)
                )
            case 3:
                moves = (TaskQueued, TaskDeferred, TaskCompleted, TaskCancelled, TaskReopened)
                for move in self.random.sample(moves, 3):
                    self.add(subject, move(**mine, reason=text))
            case 4:
                self.add(subject, TaskStepChecked(**mine, step=2, done=True, checked=(2,)))
            case 5:
                self.add(subject, TaskCommented(**mine, text=text))
            case 6:
                self.add(owner, TaskDependencyAdded(**mine, on=other))
            case _:
                self.add(owner, TaskDependencyRemoved(**mine, on=other))

    def _goal(self) -> None:
        id_ = GoalId(f"G{self.random.randrange(1, 3)}")
        subject = Subject(
            self.random.choice(TENANTS), self.random.choice(AGENTS), entity="goal", id=id_
        )
        text = self.random.choice(TEXTS)
        event = self.random.choice(
            (
                GoalCreated(goal_id=id_, title=text, description=self.text(), due="2027-01-31"),
                GoalEdited(goal_id=id_, title=text),
                GoalCommented(goal_id=id_, text=text),
                GoalClosed(goal_id=id_, state="abandoned", reason=text),
                GoalReopened(goal_id=id_),
            )
        )
        self.add(subject, event)

    def _damage(self) -> None:
        subject = str(self.random.choice(self.conversations).subject.channel)
        unknown = {"id": self.id("e"), "type": "seen_tomorrow", "at": START, "actor": "x"}
        damaged = {**unknown, "type": "reply_sent", "data": {"turn_id": 7}}
        match self.random.randrange(4):
            case 0:
                self.stored.append((subject, b'{"id": "cut'))
            case 1:
                self.stored.append((subject, msgspec.json.encode({**unknown, "data": {"a": 1}})))
            case 2:
                self.stored.append((subject, msgspec.json.encode(damaged)))
            case _:
                if self.stored:
                    self.stored.append(self.random.choice(self.stored[-50:]))


class Conversation:
    """One conversation: at most one open turn, and what it has delegated."""

    def __init__(self, story: Story, subject: Subject) -> None:
        self.story = story
        self.random = story.random
        self.subject = subject
        self.unhandled: list[EventId] = []
        self.turn: Run | None = None
        self.failed: list[RunId] = []
        self.runs: list[Run] = []
        self.covered: EventId | None = None
        self.cuts: list[tuple[EventId, EventId | None]] = []
        self.said: EventId | None = None
        self.steps: list[Callable[[], object]] = []
        """Of the compaction that is under way."""

    def go_on(self) -> None:
        """Let one thing happen."""
        if self.random.random() < 0.3:
            self._receive()
        elif self.steps:
            self.steps.pop(0)()
        elif self.said is not None and self.random.random() < 0.05:
            self._compact(self.said)
        elif self.turn is None:
            if self.unhandled:
                self._start_turn()
        elif self.random.random() < 0.5:
            self._turn_goes_on(self.turn)
        elif self.runs:
            run = self.random.choice(self.runs)
            if not run.go_on():
                self.runs.remove(run)

    def add(self, event, **envelope) -> EventId:
        """Store an event of the channel stream."""
        turn = self.turn.run_id if self.turn else None
        return self.story.add(self.subject.channel, event, **{"turn": turn, **envelope})

    def _receive(self) -> None:
        attachment = Attachment(name="a\x00b.txt", body=BodyRef(sha256=SHA, bytes=3))
        message = MessageReceived(
            message_id=self.story.id("p"),
            author=Person(id="portal:ana", name="Ana"),
            text=self.story.text(),
            group=self.random.random() < 0.5,
            private=self.random.random() < 0.1,
            reply_to=self.random.choice((None, "p-1")),
            attachments=(attachment,) * self.random.randrange(2),
        )
        self.said = self.add(message)
        self.unhandled.append(self.said)
        if self.random.random() < 0.1:  # stored again, long after the log would have noticed
            self.story.stored.append(self.story.stored[-1])

    def _compact(self, until: EventId) -> None:
        """Let a checkpoint be cut: by a compaction or without one, or roll up those before."""
        run_id = RunId(self.story.id("k")) if self.random.random() < 0.8 else None
        if len(self.cuts) > 2:
            sources = tuple(id_ for id_, _ in self.cuts)
            span = {"after": self.cuts[0][1], "until": self.covered, "sources": sources}
            span |= {"kind": "rollup", "level": 1}
        else:
            kind = "pressure" if run_id else "emergency"
            span = {"after": self.covered, "until": until, "kind": kind}
        if run_id is not None:
            run = Run(self, run_id, "compaction", self.subject.of("compaction", run_id))
            requested = CompactionRequested(run_id=run_id, **span)
            self.steps = [partial(self.add, requested), run.go_on, run.step]
            if self.random.random() < 0.3:
                failed = CompactionFailed(run_id=run_id, reason="no model")
                self.steps.append(partial(self.add, failed))
                return
        self.steps.append(partial(self._cut, span, run_id))

    def _cut(self, span, run_id: RunId | None) -> None:
        cut = CheckpointCut(
            title="what was said"[: self.random.randrange(14)],
            summary=self.story.text(),
            entries=self.random.randrange(99),
            tokens=7,
            first_at=START,
            last_at=START + 1,
            run_id=run_id,
            model="offline/rules" if run_id else "",
            **span,
        )
        cut_by = self.add(cut)
        self.covered, self.said = cut.until, None
        self.cuts = [] if cut.sources else [*self.cuts, (cut_by, cut.after)]

    def _start_turn(self) -> None:
        if self.failed and self.random.random() < 0.5:
            self.add(RetryRequested(turn_id=self.failed.pop()))
        run_id = RunId(self.story.id("t"))
        self.turn = Run(self, run_id, "turn", self.subject.of("turn"))
        self.add(TurnStarted(turn_id=run_id, owner="channel-1"))

    def _turn_goes_on(self, turn: "Run") -> None:
        turn_id = turn.run_id
        match self.random.randrange(12):
            case 0:
                self.add(ReplySent(turn_id=turn_id, text=self.story.text()))
            case 1:
                self.add(ReactionAdded(turn_id=turn_id, emoji="👍", message_id="p-1"))
            case 2:
                body = BodyRef(sha256=SHA, bytes=1, media_type="image/png")
                self.add(FileSent(turn_id=turn_id, name="x.png", body=body, caption=""))
            case 3:
                self._delegate("branch", turn_id)
            case 4:
                self._delegate("worker", turn_id)
            case 5:
                self.add(TurnResumed(turn_id=turn_id, owner="channel-2", attempt=2))
            case 6 if self.runs:
                target = self.random.choice(self.runs).run_id
                routed = InputRouted(run_id=target, text=self.story.text())
                self.add(self.random.choice((routed, CancelRequested(run_id=target))))
            case 7 | 8:
                self._end_turn(turn_id)
            case _:
                turn.step()

    def _delegate(self, kind: str, turn_id: RunId) -> None:
        run_id = RunId(self.story.id(kind[0]))
        last = EventId("e-1")
        if kind == "branch":
            purpose = self.random.choice(("thought", "persistence"))
            requested = BranchRequested(
                run_id=run_id, task=self.story.text(), forked_at=last, purpose=purpose
            )
        else:
            requested = WorkerRequested(
                run_id=run_id, task=self.story.text(), interactive=True, parent=turn_id
            )
        self.add(requested)
        self.runs.append(Run(self, run_id, kind, self.subject.of(kind, run_id), turn=turn_id))

    def _end_turn(self, turn_id: RunId) -> None:
        handled = tuple(self.unhandled)
        if self.random.random() < 0.2:
            self.add(TurnFailed(turn_id=turn_id, handled=handled, reason="no", attempts=5))
            self.failed.append(turn_id)
        else:
            outcome = self.random.choice(("replied", "skipped", "silent"))
            calls = self.random.randrange(15)
            self.add(
                TurnCompleted(turn_id=turn_id, handled=handled, outcome=outcome, tool_calls=calls)
            )
        self.unhandled, self.turn = [], None


class Job:
    """One job: defined, due, run, delivered."""

    def __init__(self, story: Story, subject: Subject) -> None:
        self.story = story
        self.random = story.random
        self.subject = subject
        self.due = START
        self.standing = "deleted"
        self.open: EventId | None = None

    def add(self, event, **envelope) -> EventId:
        """Store an event of the job's stream."""
        return self.story.add(self.subject.channel, event, **envelope)

    def go_on(self) -> None:
        """Let one thing happen."""
        if self.standing == "deleted":
            self._define()
            return
        if self.open is not None and self.random.random() < 0.6:
            self._end(self.open)
            return
        self.due += 60_000_000
        match self.random.randrange(10):
            case 0:
                self._define()
            case 1 if self.standing == "active":
                reason = self.random.choice(TEXTS)
                self.add(JobPaused(effective_at=self.due, reason=reason))
                self.standing = "paused"
            case 1 | 2:
                self.add(JobResumed(effective_at=self.due))
                self.standing = "active"
            case 3:
                self.add(JobDeleted(effective_at=self.due))
                self.standing = "deleted"
            case 4:
                self.add(OccurrenceMissed(due_at=self.due, reason="not_running"))
            case 5:
                skipped = OccurrenceSkipped(due_at=self.due, reason="overlap", because=self.open)
                used_up = OccurrenceSkipped(due_at=self.due, reason="budget", detail="used up")
                self.add(used_up if self.story.budgets.random() < 0.5 else skipped)
            case _ if self.open is None:
                manual = self.random.random() < 0.2
                self.open = self.add(OccurrenceFired(due_at=self.due, manual=manual))
                turn = RunId(self.story.id("t"))
                started = TurnStarted(turn_id=turn, owner="channel-1", occurrence=self.open)
                self.add(started, turn=turn, cause=self.open)
                self.add(
                    TurnCompleted(turn_id=turn, handled=(self.open,), outcome="silent"), turn=turn
                )

    def _define(self) -> None:
        self.due += 1_000_000
        schedule = Schedule(every_s=60, anchor_at=self.due)
        target = self.random.choice((None, Target(adapter="portal", conversation="general")))
        self.add(
            JobDefined(
                schedule=schedule,
                prompt=self.story.text() or "look",
                effective_at=self.due,
                deliver_to=target,
                made_in=target if self.due % 2 else None,
            )
        )
        if self.standing == "deleted":
            self.standing = "active"

    def _end(self, occurrence: EventId) -> None:
        self.open = None
        outcome = self.random.choice(("succeeded", "failed", "timed_out", "partial"))
        text = self.story.text()
        budget = self.story.budgets.choice((None, "team"))
        ended = OccurrenceEnded(
            occurrence=occurrence, outcome=outcome, text=text, reason="why", budget=budget
        )
        cause = self.add(ended)
        target = Target(adapter="portal", conversation="general")
        if self.random.random() < 0.3:
            self.add(DeliveryRefused(occurrence=occurrence, to=target, reason="no"), cause=cause)
            return
        there = self.subject._replace(adapter="portal", conversation="general")
        told = ResultDelivered(job="digest", occurrence=occurrence, text=text)
        event = self.story.add(there.channel, told, cause=cause)
        delivered = OccurrenceDelivered(occurrence=occurrence, to=target, event=event)
        self.add(delivered, cause=cause)


class Run:
    """One run and its own stream."""

    def __init__(self, conversation, run_id, kind, subject, turn=None) -> None:
        self.conversation = conversation
        self.story = conversation.story
        self.random = conversation.random
        self.run_id = run_id
        self.kind = kind
        self.subject = subject
        self.turn = turn or run_id
        self.state = "requested"
        self.model_step = 0
        self.calls = 0

    def add(self, event) -> EventId:
        """Store an event of the run's stream."""
        return self.story.add(self.subject, event, turn=self.turn)

    def go_on(self) -> bool:
        """Let one thing happen; tell whether the run is still there."""
        match self.state:
            case "requested":
                started = RunStarted(run_id=self.run_id, kind=self.kind, owner="w-1", task="do")
                self.add(started)
                self.state = "running"
            case "waiting":
                source = EventId("e-2")
                self.add(InputReceived(run_id=self.run_id, text="more", source=source))
                self.add(RunResumed(run_id=self.run_id, owner="w-2", attempt=2))
                self.state = "running"
            case "running":
                match self.random.randrange(8):
                    case 0 if self.kind == "worker":
                        self.add(RunWaiting(run_id=self.run_id, result=self.story.text()))
                        reported = WorkerReported(run_id=self.run_id, result=self.story.text())
                        self.conversation.add(reported, turn=self.turn)
                        self.state = "waiting"
                    case 1:
                        return self._end()
                    case _:
                        self.step()
        return True

    def step(self) -> None:
        """Add a call of a model or of a tool, or a remark."""
        run_id, kind = self.run_id, self.random.randrange(6)
        match kind:
            case 0 | 1:
                self.model_step += 1
                step = self.model_step
                hashes = {"prompt": SHA, "tools": SHA, "request": SHA}
                if self.story.budgets.random() < 0.1:
                    self._spend(step)
                self.add(ModelCalled(run_id=run_id, step=step, model="offline/rules", **hashes))
                if self.random.random() < 0.1:
                    self.add(ModelFailed(run_id=run_id, step=step, reason="unavailable"))
                    return
                cost = self.random.choice((None, 0.1, 1e-7))
                usage = Usage(input=self.random.randrange(9_999), output=7, cached=1, cost_usd=cost)
                call = ToolCall(id="call", name="shell", arguments="{\x00")
                returned = ModelReturned(
                    run_id=run_id,
                    step=step,
                    model="offline/other",
                    text=self.story.text(),
                    tool_calls=(call,) * self.random.randrange(3),
                    usage=usage,
                    latency_ms=12,
                    first_chunk_ms=self.random.choice((None, 3)),
                )
                self.add(returned)
            case 2 | 3:
                self.calls += 1
                call_id = f"call-{self.calls}"
                self.add(ToolCalled(run_id=run_id, call_id=call_id, name="shell"))
                if self.random.random() < 0.9:
                    status = self.random.choice(("ok", "error", "interrupted"))
                    returned = ToolReturned(
                        run_id=run_id,
                        call_id=call_id,
                        name="shell",
                        status=status,
                        output=self.story.text(),
                        duration_ms=5,
                        recalled=self._recalled(),
                    )
                    self.add(returned)
            case 4:
                self.add(StatusSet(run_id=run_id, status=self.random.choice(TEXTS)))
            case _:
                noted = Noted(run_id=run_id, kind="nudge", text="go on")
                self.add(self.random.choice((noted, ContextTrimmed(run_id=run_id, dropped=3))))

    def _spend(self, step: int) -> None:
        """Refuse a model call for a budget, or reserve it; perhaps settle it."""
        chance = self.story.budgets
        if chance.random() < 0.2:
            shortage = Shortage(
                budget="team",
                unit="calls",
                per="day",
                limit=9,
                spent=9,
                held=0,
                needs=1,
                until=START,
            )
            refused = CallRefused(run_id=self.run_id, step=step, model="m/1", shortage=shortage)
            self.add(refused)
            return
        subject = Subject(self.subject.tenant, entity="spend", id="2023-11")
        id_ = EventId(f"spend-{self.run_id}-{step}")
        reserved = SpendReserved(
            reservation=id_,
            run_id=self.run_id,
            step=step,
            model="m/1",
            agent=self.subject.agent,
            day="2023-11-14",
            tokens=9,
            usd=0.1,
            job=chance.choice((None, "digest")),
        )
        self.story.add(subject, reserved)
        if chance.random() < 0.8:
            self.story.add(subject, SpendSettled(reservation=id_, usd=0.05, tokens=5, calls=1))

    def _recalled(self) -> tuple[MemoryId, ...]:
        known = [id_ for _, id_ in self.story.memories[-3:]]
        return tuple(known) if self.random.random() < 0.2 else ()

    def _end(self) -> bool:
        outcome = self.random.choice(("succeeded", "failed", "timed_out"))
        result = self.story.text()
        self.add(RunEnded(run_id=self.run_id, outcome=outcome, result=result, reason="why"))
        if self.kind == "branch":
            concluded = BranchConcluded(run_id=self.run_id, outcome=outcome, conclusion=result)
        else:
            concluded = WorkerConcluded(run_id=self.run_id, outcome=outcome, result=result)
        self.conversation.add(concluded, turn=self.turn)
        return False
