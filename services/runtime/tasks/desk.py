"""Put what happens to tasks and goals on the log: read, decide, append if nobody was faster.

Whoever changes a task appends to its one subject behind what was read, so of two people at once
one is first, and the other is told how the task is then. A worker's request and the start that it
belongs to are stored together or not at all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from schemas.base import Content, Event, EventId, GoalId, Outcome, RunId, TaskId
from schemas.channel import CancelRequested, WorkerRequested
from schemas.goals import GoalCreated
from schemas.subjects import InvalidToken, Subject, matching
from schemas.tasks import Priority, TaskCreated, TaskDependencyAdded, TaskDependencyRemoved
from services.errors import Conflict, Rejected
from services.runtime import ids
from services.runtime.bodies import BodyStore, content
from services.runtime.event_log import Append
from services.runtime.tasks import goal as goals, task as tasks
from services.runtime.tasks.board import Board
from services.runtime.tasks.brief import brief
from services.runtime.tasks.goal import Goal, GoalCommand
from services.runtime.tasks.task import By, Change, Command, NotPossible, Start, Task
from services.runtime.text import clean
from services.runtime.writer import Writer

KEPT: Final = 64  # agents whose board is kept; an event more is then all that is read
CONVERSATION: Final = "portal/tasks"  # where workers report when nobody says where
TITLE: Final = 200  # characters
TEXT: Final = 4_000  # characters of a comment or a reason
DESCRIPTION: Final = 32_000  # characters
STEPS: Final = 30
STEP: Final = 300  # characters of one


class InvalidTask(Rejected):
    """It cannot be written down like this."""


class Owner(NamedTuple):
    """Whose tasks."""

    tenant: str
    agent: str


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, and how a retry of it is known again."""

    actor: str
    """As in envelopes: `person:portal:ana`, `branch`."""
    by: By = "person"
    key: str = ""
    """The same for every try; empty where this is the only one."""
    run_id: RunId | None = None
    cause: EventId | None = None
    turn: RunId | None = None


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to create."""

    title: str
    description: str = ""
    priority: Priority = "medium"
    plan: Sequence[str] = ()
    goal: str = ""
    depends_on: Sequence[str] = ()
    conversation: str | None = None
    later: bool = False
    """To the backlog, also where it could be done next."""


class Desk:
    """Creates and changes tasks and goals; safe to repeat, and safe when many do it at once."""

    def __init__(self, writer: Writer, bodies: BodyStore) -> None:
        self._writer = writer
        self._bodies = bodies
        self._boards: OrderedDict[Owner, Board] = OrderedDict()
        self._locks: dict[Owner, asyncio.Lock] = {}

    async def board(self, owner: Owner) -> Board:
        """Return all tasks and goals of an agent as they are; it is ours and goes on growing.

        Raises:
            LogUnavailable: it could not be read.
        """
        async with self._locks.setdefault(owner, asyncio.Lock()):
            board = self._boards.setdefault(owner, Board())
            self._boards.move_to_end(owner)
            for entity, after in (("task", board.task_seq), ("goal", board.goal_seq)):
                pattern = matching(*owner, entity=entity)
                async for recorded in self._writer.log.read(pattern, after=after, fresh=True):
                    board.add(recorded)
        while len(self._boards) > KEPT:
            self._locks.pop(self._boards.popitem(last=False)[0], None)
        return board

    # -- tasks -------------------------------------------------------------------------------

    async def create(self, owner: Owner, new: NewTask, author: Author) -> Task:
        """Create a task: of an agent as a proposal, of a person as something to be done.

        Raises:
            InvalidTask, UnknownTask, UnknownGoal, NotPossible: it is not created; says why.
            LogUnavailable, LogFull: it is not stored, or that is not known; try again.
        """
        title, plan = title_of(new.title), plan_of(new.plan)
        kept = await self.content(new.description)
        id_ = _event_id(owner, author)
        while True:
            board = await self.board(owner)
            if id_ in board.written:
                return board.task(board.written[id_])
            before = dict.fromkeys(board.task(name).task_id for name in new.depends_on)
            waits = any(board.tasks[on].state != "done" for on in before)
            goal = _open_goal(board, new.goal) if new.goal else None
            event = TaskCreated(
                task_id=board.next_task,
                title=title,
                state=_first_state(author, later=new.later or waits),
                description=kept,
                priority=new.priority,
                plan=plan,
                goal=goal,
                run_id=author.run_id,
                conversation=new.conversation,
            )
            subject = task_subject(owner, event.task_id)
            appends = [self._append(subject, event, author, id_, expected=0)]
            for index, on in enumerate(before):
                edge = TaskDependencyAdded(task_id=event.task_id, on=on)
                derived = ids.derived("depends", id_, on)
                expected = board.order_seq if index == 0 else None
                appends.append(
                    self._append(task_subject(owner), edge, author, derived, expected=expected)
                )
            if await self._store(appends):
                return (await self.board(owner)).task(event.task_id)

    async def change(self, owner: Owner, name: str, command: Command, author: Author) -> Task:
        """Let a task go on.

        Raises:
            UnknownTask, NotPossible: nothing has happened; says what is possible.
            LogUnavailable, LogFull: it is not stored, or that is not known; try again.
        """
        id_ = _event_id(owner, author)
        while True:
            board = await self.board(owner)
            task = board.task(name)
            if id_ in board.written:
                return task
            waiting_for = board.waiting_for(task.task_id)
            event = tasks.decide(task, command, by=author.by, waiting_for=waiting_for)
            subject = task_subject(owner, task.task_id)
            appends = [self._append(subject, event, author, id_, expected=task.seq)]
            ends = isinstance(command, Change) and command.verb in {"done", "defer", "cancel"}
            if ends and (stop := self._stop(owner, task, author, id_)) is not None:
                appends.append(stop)
            if await self._store(appends):
                return (await self.board(owner)).task(task.task_id)

    async def run(
        self, owner: Owner, name: str, author: Author, conversation: str | None = None
    ) -> Task:
        """Have a worker do a task that is ready; its result comes to a conversation.

        Args:
            owner: Whose task.
            name: Which one.
            author: Who wants it.
            conversation: `adapter/conversation`; None for the one that the task came up in.

        Raises:
            UnknownTask, NotPossible, InvalidTask: nothing has happened.
            LogUnavailable, LogFull: it is not stored, or that is not known; try again.
        """
        id_ = _event_id(owner, author)
        run_id = RunId(ids.derived("worker", id_))
        while True:
            board = await self.board(owner)
            task = board.task(name)
            if id_ in board.written:
                return task
            where = conversation or task.conversation or CONVERSATION
            channel = _channel(owner, where)
            start = Start(run_id, where)
            waiting_for = board.waiting_for(task.task_id)
            started = tasks.decide(task, start, by=author.by, waiting_for=waiting_for)
            requested = WorkerRequested(
                run_id=run_id,
                task=await content(self._bodies, clean(await brief(task, self._bodies))),
                parent=author.run_id,
            )
            caused = replace(author, cause=id_)
            appends = [
                self._append(
                    task_subject(owner, task.task_id), started, author, id_, expected=task.seq
                ),
                self._append(channel, requested, caused, ids.derived("requested", id_)),
            ]
            if await self._store(appends):
                return (await self.board(owner)).task(task.task_id)

    async def end_attempt(
        self,
        owner: Owner,
        run_id: RunId,
        outcome: Outcome,
        result: Content,
        cause: EventId,
    ) -> Task | None:
        """Keep how a worker ended, once; None where it worked on no task.

        Raises:
            LogUnavailable, LogFull: try again.
        """
        author = Author("worker", "agent", cause=cause)
        while True:
            board = await self.board(owner)
            task_id = board.runs.get(run_id)
            if task_id is None:
                return None
            task = board.tasks[task_id]
            event = tasks.end_attempt(task, run_id, outcome, result)
            if event is None:
                return task
            id_ = ids.derived("attempt ended", run_id)
            subject = task_subject(owner, task_id)
            await self._store([self._append(subject, event, author, id_, expected=task.seq)])

    async def depend(
        self, owner: Owner, name: str, on: str, author: Author, *, remove: bool = False
    ) -> Task:
        """Let a task wait for another one, or no longer.

        Raises:
            UnknownTask, NotPossible: nothing has happened.
            LogUnavailable, LogFull: it is not stored, or that is not known; try again.
        """
        id_ = _event_id(owner, author)
        while True:
            board = await self.board(owner)
            task_id, other = board.task(name).task_id, board.task(on).task_id
            if id_ in board.written:
                return board.tasks[task_id]
            event: Event
            if remove:
                if other not in board.depends.get(task_id, ()):
                    raise NotPossible(f"{task_id} does not wait for {other}")
                event = TaskDependencyRemoved(task_id=task_id, on=other)
            else:
                board.may_depend(task_id, other)
                event = TaskDependencyAdded(task_id=task_id, on=other)
            order = task_subject(owner)
            if await self._store(
                [self._append(order, event, author, id_, expected=board.order_seq)]
            ):
                return (await self.board(owner)).tasks[task_id]

    # -- goals -------------------------------------------------------------------------------

    async def create_goal(
        self, owner: Owner, title: str, description: str, due: str, author: Author
    ) -> Goal:
        """Create a goal.

        Raises:
            InvalidTask: it is not created; says why.
            LogUnavailable, LogFull: it is not stored, or that is not known; try again.
        """
        title, kept = title_of(title), await self.content(description)
        id_ = _event_id(owner, author)
        while True:
            board = await self.board(owner)
            if id_ in board.written:
                return board.goal(board.written[id_])
            event = GoalCreated(goal_id=board.next_goal, title=title, description=kept, due=due)
            subject = goal_subject(owner, event.goal_id)
            if await self._store([self._append(subject, event, author, id_, expected=0)]):
                return (await self.board(owner)).goal(event.goal_id)

    async def change_goal(
        self, owner: Owner, name: str, command: GoalCommand, author: Author
    ) -> Goal:
        """Let a goal go on.

        Raises:
            UnknownGoal, NotPossible: nothing has happened; says what is possible.
            LogUnavailable, LogFull: it is not stored, or that is not known; try again.
        """
        id_ = _event_id(owner, author)
        while True:
            board = await self.board(owner)
            goal = board.goal(name)
            if id_ in board.written:
                return goal
            event = goals.decide(goal, command, by=author.by)
            subject = goal_subject(owner, goal.goal_id)
            if await self._store([self._append(subject, event, author, id_, expected=goal.seq)]):
                return (await self.board(owner)).goal(goal.goal_id)

    # -- the log -----------------------------------------------------------------------------

    async def content(self, text: str) -> Content:
        """Return a description as events keep it.

        Raises:
            InvalidTask: it is too long.
        """
        return await content(self._bodies, limited(text, DESCRIPTION, "a description"))

    def _stop(self, owner: Owner, task: Task, author: Author, id_: EventId) -> Append | None:
        """Return what asks the worker at a task to stop; None where there is none."""
        attempt = task.at_work
        if attempt is None or attempt.run_id is None:
            return None
        event = CancelRequested(run_id=attempt.run_id, reason=f"task {task.task_id} was changed")
        channel = _channel(owner, attempt.conversation or CONVERSATION)
        return self._append(channel, event, replace(author, cause=id_), ids.derived("stop", id_))

    def _append(
        self,
        subject: str,
        event: Event,
        author: Author,
        id_: EventId,
        *,
        expected: int | None = None,
    ) -> Append:
        envelope = self._writer.seal(
            event, id=id_, actor=author.actor, cause=author.cause, turn=author.turn
        )
        return Append(subject, envelope, expected)

    async def _store(self, appends: Sequence[Append]) -> bool:
        """Store what belongs together; tell whether nobody was faster."""
        log, first = self._writer.log, appends[0]
        try:
            if len(appends) == 1 and first.expected is not None:
                await log.append_if(first.subject, first.expected, first.envelope)
            else:
                await log.append_batch(appends)
        except Conflict:
            return False
        return True


def task_subject(owner: Owner, task_id: TaskId | None = None) -> str:
    """Return the subject of a task's events; without an id, of what depends on what."""
    return str(Subject(owner.tenant, owner.agent, entity="task", id=task_id))


def goal_subject(owner: Owner, goal_id: GoalId) -> str:
    """Return the subject of a goal's events."""
    return str(Subject(owner.tenant, owner.agent, entity="goal", id=goal_id))


def plan_of(steps: Sequence[str]) -> tuple[str, ...]:
    """Return the steps of a plan, each on one line.

    Raises:
        InvalidTask: they are too many, or one is empty or too long.
    """
    if len(steps) > STEPS:
        raise InvalidTask(f"a plan has at most {STEPS} steps, not {len(steps)}")
    lines = tuple(_line(limited(step, STEP, "a step of a plan")) for step in steps)
    if not all(lines):
        raise InvalidTask("a step of the plan is empty")
    return lines


def limited(text: str, most: int, what: str) -> str:
    """Return a text from outside, cleaned.

    Raises:
        InvalidTask: it is too long.
    """
    if len(text) > most:
        raise InvalidTask(f"{what} has at most {most:,} characters, not {len(text):,}")
    return clean(text).strip()


def comment_of(text: str) -> str:
    """Return a comment.

    Raises:
        InvalidTask: it is empty or too long.
    """
    said = limited(text, TEXT, "a comment")
    if not said:
        raise InvalidTask("the comment is empty")
    return said


def title_of(text: str) -> str:
    """Return a title on one line.

    Raises:
        InvalidTask: it is empty or too long.
    """
    title = _line(limited(text, TITLE, "a title"))
    if not title:
        raise InvalidTask("the title is empty")
    return title


def _line(text: str) -> str:
    return " ".join(text.split())


def _event_id(owner: Owner, author: Author) -> EventId:
    return ids.derived("task", *owner, author.key) if author.key else ids.event_id()


def _first_state(author: Author, *, later: bool) -> Literal["pending_approval", "backlog", "ready"]:
    if author.by == "agent":
        return "pending_approval"
    return "backlog" if later else "ready"


def _open_goal(board: Board, name: str) -> GoalId:
    goal = board.goal(name)
    if goal.state != "open":
        raise NotPossible(f"{goal.goal_id} is {goal.state}: a task cannot be for it any more")
    return goal.goal_id


def _channel(owner: Owner, conversation: str) -> str:
    adapter, _, name = conversation.partition("/")
    try:
        return str(Subject(owner.tenant, owner.agent, adapter, name))
    except InvalidToken as error:
        raise InvalidTask(
            f"{conversation[:80]!r} is no conversation; say it as `adapter/conversation`: {error}"
        ) from error
