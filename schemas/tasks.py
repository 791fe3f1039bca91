"""Facts about the tasks of an agent: what is to be done, who said so, what came of it.

Subject:  evt.{tenant}.{agent}._._.task.{id}, where the id is T1, T2 and so on, per agent
          evt.{tenant}.{agent}._._.task._ for what depends on what: one subject, because a cycle
          can come about by two changes of two tasks
Order:    task_created once and first; then what the state allows (see services.runtime.tasks.task)
Writer:   services.api for people, services.branch for agents, services.worker (how an attempt
          ended). Who it was is in the envelope's actor.

The states, and why they are called so:

pending_approval  an agent proposes it; nothing runs before a person says so
backlog           agreed to, not now
ready             to be done next; it may be started
in_progress       somebody works on it
done              it is done
cancelled         it will not be done

Trackers that teams know (Jira, Linear, GitHub Projects) use these names. There is no `failed`:
an attempt fails, the task is then as open as before and goes back to the backlog, so that nobody
tries it again before a person has looked.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta
from msgspec.json import Decoder

from schemas.base import Content, Event, GoalId, Outcome, RunId, TaskId

TaskState = Literal["pending_approval", "backlog", "ready", "in_progress", "done", "cancelled"]
Priority = Literal["urgent", "high", "medium", "low"]
Step = Annotated[int, Meta(ge=1, description="A step of the plan, counted from 1.")]


class TaskCreated(Event, tag="task_created"):
    """Somebody wants something done."""

    task_id: TaskId
    title: str
    state: Literal["pending_approval", "backlog", "ready"]
    """What an agent creates is pending; what a person creates needs no approval."""
    description: Content = ""
    priority: Priority = "medium"
    plan: tuple[str, ...] = ()
    """Steps, in their order."""
    goal: GoalId | None = None
    run_id: RunId | None = None
    """The run that proposed it."""
    conversation: str | None = None
    """Where it came up, `adapter/conversation`."""


class TaskEdited(Event, tag="task_edited"):
    """What is to be done was changed; a field that is None is as it was."""

    task_id: TaskId
    title: str | None = None
    description: Content | None = None
    priority: Priority | None = None
    plan: tuple[str, ...] | None = None
    """The whole new plan; none of its steps is done."""
    goal: GoalId | None = None
    """Empty: no goal any more."""
    state: Literal["pending_approval"] | None = None
    """Set where an agent changed what a person had approved: that needs approval anew."""
    reason: str = ""


class TaskApproved(Event, tag="task_approved"):
    """A person, the envelope's actor, agreed to what an agent proposed."""

    task_id: TaskId
    state: Literal["backlog", "ready"]
    """Backlog where a task that it depends on is not done, or where the person said so."""
    reason: str = ""


class TaskQueued(Event, tag="task_queued"):
    """From the backlog to what is done next."""

    task_id: TaskId
    reason: str = ""


class TaskDeferred(Event, tag="task_deferred"):
    """Back to the backlog; a run at work on it is asked to stop."""

    task_id: TaskId
    reason: str = ""


class TaskStarted(Event, tag="task_started"):
    """Somebody works on it: a worker, or whoever is the envelope's actor."""

    task_id: TaskId
    attempt: Annotated[int, Meta(ge=1, description="1 for the first, then one more each.")]
    run_id: RunId | None = None
    """The worker; None where a person does it."""
    conversation: str | None = None
    """Where the worker reports, `adapter/conversation`."""


class TaskAttemptEnded(Event, tag="task_attempt_ended"):
    """The worker of an attempt came to its end."""

    task_id: TaskId
    run_id: RunId
    outcome: Outcome
    result: Content = ""
    state: Literal["done", "backlog"] | None = None
    """The task's state from now on; None where it was no longer about this attempt."""


class TaskCompleted(Event, tag="task_completed"):
    """It is done."""

    task_id: TaskId
    reason: str = ""


class TaskCancelled(Event, tag="task_cancelled"):
    """It will not be done; a run at work on it is asked to stop."""

    task_id: TaskId
    reason: str = ""


class TaskReopened(Event, tag="task_reopened"):
    """A person put it back to the backlog after its end; that is an approval too."""

    task_id: TaskId
    reason: str = ""


class TaskStepChecked(Event, tag="task_step_checked"):
    """A step of the plan is done, or not done after all."""

    task_id: TaskId
    step: Step
    done: bool
    checked: tuple[Step, ...] = ()
    """All steps that are done now."""


class TaskCommented(Event, tag="task_commented"):
    """Somebody said something about it."""

    task_id: TaskId
    text: str


class TaskDependencyAdded(Event, tag="task_dependency_added"):
    """A task can only be started when another one is done."""

    task_id: TaskId
    on: TaskId


class TaskDependencyRemoved(Event, tag="task_dependency_removed"):
    """A task no longer waits for another one."""

    task_id: TaskId
    on: TaskId


TasksEvent: TypeAlias = (
    TaskCreated
    | TaskEdited
    | TaskApproved
    | TaskQueued
    | TaskDeferred
    | TaskStarted
    | TaskAttemptEnded
    | TaskCompleted
    | TaskCancelled
    | TaskReopened
    | TaskStepChecked
    | TaskCommented
    | TaskDependencyAdded
    | TaskDependencyRemoved
)
TASKS_EVENTS: Decoder[TasksEvent] = Decoder(TasksEvent)
