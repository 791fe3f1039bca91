"""One task: its fold, and what may be done to it by whom. Pure.

Consumes:  the events of schemas.tasks on one task's subject
Emits:     the next one, or a refusal that names what is possible instead
Never:     lets an agent approve anything, or change what a person approved without asking again
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from schemas.base import Content, GoalId, Outcome, RunId, TaskId
from schemas.tasks import (
    Priority,
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
    TasksEvent,
    TaskStarted,
    TaskState,
    TaskStepChecked,
)
from services.errors import Rejected
from services.runtime.event_log import Recorded

By = Literal["person", "agent"]
Verb = Literal[
    "approve", "queue", "start", "done", "defer", "cancel", "reopen", "edit", "check", "comment"
]
OPEN: Final[frozenset[TaskState]] = frozenset(
    {"pending_approval", "backlog", "ready", "in_progress"}
)
ALWAYS: Final[frozenset[TaskState]] = OPEN | {"done", "cancelled"}
ALLOWED: Final[dict[Verb, frozenset[TaskState]]] = {
    "approve": frozenset({"pending_approval"}),
    "queue": frozenset({"backlog"}),
    "start": frozenset({"ready"}),
    "done": frozenset({"ready", "in_progress"}),
    "defer": frozenset({"ready", "in_progress"}),
    "cancel": OPEN,
    "reopen": frozenset({"done", "cancelled"}),
    "edit": OPEN,
    "check": frozenset({"ready", "in_progress"}),
    "comment": ALWAYS,
}
"""In which states a person may do what."""
OF_AGENTS: Final[dict[Verb, frozenset[TaskState]]] = {
    "start": frozenset({"ready"}),
    "done": frozenset({"in_progress"}),
    "cancel": frozenset({"pending_approval"}),
    "edit": frozenset({"pending_approval", "backlog", "ready"}),
    "check": frozenset({"in_progress"}),
    "comment": ALWAYS,
}
"""The same for agents: never a word on whether something should be done."""
COMMENTS: Final = 50  # newest comments that the fold keeps; the log has all


class NotPossible(Rejected):
    """The task does not allow it as it is."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One time that somebody worked on a task."""

    number: int
    by: str
    started_at: int
    run_id: RunId | None
    """The worker; None where a person did it."""
    conversation: str | None
    outcome: Outcome | None = None
    """None while the worker is at work."""
    result: Content = ""


class Comment(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody said about a task."""

    at: int
    by: str
    text: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The fold of a task's stream; times in UTC microseconds."""

    task_id: TaskId
    title: str
    state: TaskState
    description: Content
    priority: Priority
    plan: tuple[str, ...]
    checked: tuple[int, ...] = ()
    """Steps of the plan that are done, counted from 1."""
    goal: GoalId | None
    created_by: str
    created_at: int
    changed_at: int
    run_id: RunId | None
    """The run that proposed it."""
    conversation: str | None
    approved_by: str | None = None
    """Who said that it should be done; whoever created it, where that was a person."""
    attempts: tuple[Attempt, ...] = ()
    comments: tuple[Comment, ...] = ()
    revision: int = 1
    """How many events made it what it is."""
    seq: int
    """Last sequence of its stream."""

    @property
    def at_work(self) -> Attempt | None:
        """The attempt of a worker that has not ended."""
        last = self.attempts[-1] if self.attempts else None
        return last if last and last.run_id and last.outcome is None else None


@dataclass(frozen=True, slots=True)
class Change:
    """One of the moves from state to state that need no more than a reason."""

    verb: Literal["queue", "defer", "done", "cancel", "reopen"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Approve:
    """Agree to what was proposed."""

    reason: str = ""
    later: bool = False
    """To the backlog, also where it could be done next."""


@dataclass(frozen=True, slots=True)
class Start:
    """Begin to work on it."""

    run_id: RunId | None = None
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """Change what is to be done; None leaves a field as it is."""

    title: str | None = None
    description: Content | None = None
    priority: Priority | None = None
    plan: tuple[str, ...] | None = None
    goal: GoalId | None = None
    reason: str = ""
    revision: int | None = None
    """Only where this is still the task's revision."""


@dataclass(frozen=True, slots=True)
class Check:
    """Say that a step of the plan is done, or that it is not."""

    step: int
    done: bool = True


@dataclass(frozen=True, slots=True)
class Say:
    """Comment."""

    text: str


Command: TypeAlias = Change | Approve | Start | Edit | Check | Say


def verb_of(command: Command) -> Verb:
    """Return what the command is called."""
    match command:
        case Change(verb=verb):
            return verb
        case Approve():
            return "approve"
        case Start():
            return "start"
        case Edit():
            return "edit"
        case Check():
            return "check"
        case Say():
            return "comment"


def possible(task: Task, by: By) -> tuple[Verb, ...]:
    """Return what may be done to a task now."""
    table = ALLOWED if by == "person" else OF_AGENTS
    return tuple(verb for verb, states in table.items() if task.state in states)


def decide(
    task: Task, command: Command, *, by: By, waiting_for: Collection[TaskId] = ()
) -> TasksEvent:
    """Return what happens by a command.

    Args:
        task: As it is.
        command: What is wanted.
        by: Who wants it.
        waiting_for: Tasks that have to be done before, and are not.

    Raises:
        NotPossible: says what is possible instead.
    """
    if verb_of(command) not in (verbs := possible(task, by)):
        who = "" if by == "person" else "for an agent "
        raise NotPossible(
            f"{task.task_id} is {task.state}: {who}`{verb_of(command)}` is not possible, "
            f"but: {', '.join(verbs)}"
        )
    task_id = task.task_id
    match command:
        case Approve(reason=reason, later=later):
            state: Literal["backlog", "ready"] = "backlog" if later or waiting_for else "ready"
            return TaskApproved(task_id=task_id, state=state, reason=reason)
        case Start():
            _check_free(task, waiting_for)
            return TaskStarted(
                task_id=task_id,
                attempt=len(task.attempts) + 1,
                run_id=command.run_id,
                conversation=command.conversation,
            )
        case Change():
            return _change(task, command, by, waiting_for)
        case Edit():
            return _edit(task, command, by)
        case Check(step=step, done=done):
            return _check(task, step, done=done)
        case Say(text=text):
            return TaskCommented(task_id=task_id, text=text)


def _change(
    task: Task, command: Change, by: By, waiting_for: Collection[TaskId]
) -> TaskQueued | TaskDeferred | TaskCompleted | TaskCancelled | TaskReopened:
    match command.verb:
        case "queue":
            _check_free(task, waiting_for)
            return TaskQueued(task_id=task.task_id, reason=command.reason)
        case "defer":
            return TaskDeferred(task_id=task.task_id, reason=command.reason)
        case "done":
            if by == "agent" and task.at_work is not None:
                raise NotPossible(
                    f"worker {task.at_work.run_id} is at work on {task.task_id}: "
                    "its end says what came of it"
                )
            return TaskCompleted(task_id=task.task_id, reason=command.reason)
        case "cancel":
            return TaskCancelled(task_id=task.task_id, reason=command.reason)
        case "reopen":
            return TaskReopened(task_id=task.task_id, reason=command.reason)


def _check_free(task: Task, waiting_for: Collection[TaskId]) -> None:
    if waiting_for:
        raise NotPossible(
            f"{task.task_id} waits for {', '.join(waiting_for)}: have that done, "
            "or take the dependency away"
        )


def _edit(task: Task, command: Edit, by: By) -> TaskEdited:
    if command.revision is not None and command.revision != task.revision:
        raise NotPossible(
            f"{task.task_id} has changed since: it is at revision {task.revision}, "
            f"not {command.revision}; look at it again"
        )
    old = (task.title, task.description, task.priority, task.plan, task.goal or "")
    new = (command.title, command.description, command.priority, command.plan, command.goal)
    changed = [None if b is None or a == b else b for a, b in zip(old, new, strict=True)]
    if all(each is None for each in changed):
        raise NotPossible(f"{task.task_id} is like that already: nothing would change")
    is_other_work = any(each is not None for each in (*changed[:2], changed[3]))
    again = by == "agent" and is_other_work and task.state != "pending_approval"
    title, description, priority, plan, goal = changed
    return TaskEdited(
        task_id=task.task_id,
        title=title,  # type: ignore[arg-type]  # each is the command's own field or None
        description=description,  # type: ignore[arg-type]
        priority=priority,  # type: ignore[arg-type]
        plan=plan,  # type: ignore[arg-type]
        goal=goal,  # type: ignore[arg-type]
        state="pending_approval" if again else None,
        reason=command.reason,
    )


def _check(task: Task, step: int, *, done: bool) -> TaskStepChecked:
    if not 1 <= step <= len(task.plan):
        raise NotPossible(f"the plan of {task.task_id} has {len(task.plan)} steps, not a {step}.")
    if (step in task.checked) == done:
        raise NotPossible(f"step {step} of {task.task_id} is {'' if done else 'not '}done already")
    steps = {*task.checked, step} if done else {*task.checked} - {step}
    return TaskStepChecked(task_id=task.task_id, step=step, done=done, checked=tuple(sorted(steps)))


def end_attempt(
    task: Task, run_id: RunId, outcome: Outcome, result: Content
) -> TaskAttemptEnded | None:
    """Return how the end of a worker is kept; None where it is already."""
    attempt = next((each for each in task.attempts if each.run_id == run_id), None)
    if attempt is None or attempt.outcome is not None:
        return None
    is_current = task.state == "in_progress" and task.attempts[-1] == attempt
    state: Literal["done", "backlog"] = "done" if outcome == "succeeded" else "backlog"
    return TaskAttemptEnded(
        task_id=task.task_id,
        run_id=run_id,
        outcome=outcome,
        result=result,
        state=state if is_current else None,
    )


def evolve(task: Task | None, recorded: Recorded) -> Task | None:
    """Fold one event of the task's stream; None before it is created."""
    event, envelope = recorded.event, recorded.envelope
    if not isinstance(event, TasksEvent):
        return task if task is None else replace(task, seq=recorded.seq)
    if task is None:
        return _created(event, recorded) if isinstance(event, TaskCreated) else None
    return replace(
        _changed(task, event, recorded),
        revision=task.revision + 1,
        changed_at=envelope.at,
        seq=recorded.seq,
    )


def _created(event: TaskCreated, recorded: Recorded) -> Task:
    at, actor = recorded.envelope.at, recorded.envelope.actor
    return Task(
        task_id=event.task_id,
        title=event.title,
        state=event.state,
        description=event.description,
        priority=event.priority,
        plan=event.plan,
        goal=event.goal,
        created_by=actor,
        created_at=at,
        changed_at=at,
        run_id=event.run_id,
        conversation=event.conversation,
        approved_by=None if event.state == "pending_approval" else actor,
        seq=recorded.seq,
    )


def _changed(task: Task, event: TasksEvent, recorded: Recorded) -> Task:
    at, actor = recorded.envelope.at, recorded.envelope.actor
    match event:
        case TaskApproved(state=state):
            task = replace(task, state=state, approved_by=actor)
        case TaskReopened():
            task = replace(task, state="backlog", approved_by=actor)
        case TaskQueued() | TaskDeferred() | TaskCompleted() | TaskCancelled():
            task = replace(task, state=_MOVES[type(event)])
        case TaskEdited():
            task = _edited(task, event)
        case TaskStarted(attempt=number, run_id=run_id, conversation=conversation):
            attempt = Attempt(
                number=number, by=actor, started_at=at, run_id=run_id, conversation=conversation
            )
            task = replace(task, state="in_progress", attempts=(*task.attempts, attempt))
        case TaskAttemptEnded():
            task = _ended(task, event)
        case TaskStepChecked(checked=checked):
            task = replace(task, checked=checked)
        case TaskCommented(text=text):
            comment = Comment(at=at, by=actor, text=text)
            task = replace(task, comments=(*task.comments, comment)[-COMMENTS:])
        case TaskCreated() | TaskDependencyAdded() | TaskDependencyRemoved():
            pass
    return task


def _ended(task: Task, event: TaskAttemptEnded) -> Task:
    attempts = tuple(
        replace(each, outcome=event.outcome, result=event.result)
        if each.run_id == event.run_id
        else each
        for each in task.attempts
    )
    return replace(task, state=event.state or task.state, attempts=attempts)


_MOVES: Final[dict[type[TasksEvent], TaskState]] = {
    TaskQueued: "ready",
    TaskDeferred: "backlog",
    TaskCompleted: "done",
    TaskCancelled: "cancelled",
}


def _edited(task: Task, event: TaskEdited) -> Task:
    task = replace(
        task,
        title=task.title if event.title is None else event.title,
        description=task.description if event.description is None else event.description,
        priority=event.priority or task.priority,
        goal=task.goal if event.goal is None else event.goal or None,
    )
    if event.plan is not None:
        task = replace(task, plan=event.plan, checked=())
    if event.state is not None:
        task = replace(task, state=event.state, approved_by=None)
    return task
