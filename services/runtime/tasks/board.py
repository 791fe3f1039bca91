"""Everything that an agent has to do: the fold of all its tasks and goals. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from schemas.base import EventId, GoalId, RunId, TaskId
from schemas.subjects import parse
from schemas.tasks import (
    TaskDependencyAdded,
    TaskDependencyRemoved,
    TaskStarted,
    TaskState,
)
from services.errors import Rejected
from services.runtime.event_log import Recorded
from services.runtime.tasks import goal as goals, task as tasks
from services.runtime.tasks.goal import Goal
from services.runtime.tasks.task import OPEN, NotPossible, Task

STATES: Final[tuple[TaskState, ...]] = (
    *("in_progress", "ready", "pending_approval", "backlog", "done", "cancelled"),
)
PRIORITIES: Final = ("urgent", "high", "medium", "low")


class UnknownTask(Rejected):
    """There is no such task."""


class UnknownGoal(Rejected):
    """There is no such goal."""


@dataclass(slots=True)
class Board:
    """Tasks and goals of one agent; it grows by one event at a time."""

    tasks: dict[TaskId, Task] = field(default_factory=dict)
    goals: dict[GoalId, Goal] = field(default_factory=dict)
    depends: dict[TaskId, tuple[TaskId, ...]] = field(default_factory=dict)
    runs: dict[RunId, TaskId] = field(default_factory=dict)
    """Which task a worker is or was at work on."""
    written: dict[EventId, str] = field(default_factory=dict)
    """Every event to the task or the goal that it is about."""
    order_seq: int = 0
    """Last sequence of what depends on what."""
    task_seq: int = 0
    """As far as tasks were read."""
    goal_seq: int = 0

    def add(self, recorded: Recorded) -> None:
        """Take in the next event; one that comes again moves positions, and nothing else."""
        place, event = parse(recorded.subject), recorded.event
        is_new = recorded.envelope.id not in self.written
        if place.entity == "goal":
            self.goal_seq = recorded.seq
            self._add_to_goal(GoalId(place.id or ""), recorded, is_new=is_new)
        else:
            self.task_seq = recorded.seq
            if place.id is None:
                self.order_seq = recorded.seq
                if is_new and isinstance(event, TaskDependencyAdded | TaskDependencyRemoved):
                    self._depend(event)
            else:
                self._add_to_task(TaskId(place.id), recorded, is_new=is_new)
        about = place.id or str(getattr(event, "task_id", ""))
        self.written.setdefault(recorded.envelope.id, about)

    def _add_to_task(self, task_id: TaskId, recorded: Recorded, *, is_new: bool) -> None:
        known = self.tasks.get(task_id)
        if not is_new and known is not None:
            self.tasks[task_id] = replace(known, seq=recorded.seq)
            return
        if (task := tasks.evolve(known, recorded)) is not None:
            self.tasks[task_id] = task
        if isinstance(recorded.event, TaskStarted) and recorded.event.run_id is not None:
            self.runs[recorded.event.run_id] = task_id

    def _add_to_goal(self, goal_id: GoalId, recorded: Recorded, *, is_new: bool) -> None:
        known = self.goals.get(goal_id)
        if not is_new and known is not None:
            self.goals[goal_id] = replace(known, seq=recorded.seq)
        elif (goal := goals.evolve(known, recorded)) is not None:
            self.goals[goal_id] = goal

    def _depend(self, event: TaskDependencyAdded | TaskDependencyRemoved) -> None:
        known = self.depends.get(event.task_id, ())
        others = tuple(each for each in known if each != event.on)
        is_added = isinstance(event, TaskDependencyAdded)
        self.depends[event.task_id] = (*others, event.on) if is_added else others

    def task(self, name: str) -> Task:
        """Return a task by its id, which may be told as `T3`, `t3`, `3` or `#3`.

        Raises:
            UnknownTask: there is none.
        """
        task = self.tasks.get(TaskId(_id("T", name)))
        if task is None:
            raise UnknownTask(f"there is no task {name[:40]!r}; see `penstock task list`")
        return task

    def goal(self, name: str) -> Goal:
        """Return a goal by its id, which may be told as `G3`, `g3`, `3` or `#3`.

        Raises:
            UnknownGoal: there is none.
        """
        goal = self.goals.get(GoalId(_id("G", name)))
        if goal is None:
            raise UnknownGoal(f"there is no goal {name[:40]!r}; see `penstock goal list`")
        return goal

    @property
    def next_task(self) -> TaskId:
        """The id of a task that is created now."""
        return TaskId(f"T{max(map(number, self.tasks), default=0) + 1}")

    @property
    def next_goal(self) -> GoalId:
        """The id of a goal that is created now."""
        return GoalId(f"G{max(map(number, self.goals), default=0) + 1}")

    def waiting_for(self, task_id: TaskId) -> tuple[TaskId, ...]:
        """Return the tasks that have to be done before this one and are not."""
        there = self.depends.get(task_id, ())
        return tuple(on for on in there if on not in self.tasks or self.tasks[on].state != "done")

    def listing(self, states: Sequence[TaskState] = ()) -> list[Task]:
        """Return tasks: what is worked on first, then by urgency, then the older ones.

        Args:
            states: Only these; none: those that are open.
        """
        wanted = states or tuple(OPEN)
        found = [task for task in self.tasks.values() if task.state in wanted]
        return sorted(found, key=_rank)

    def may_depend(self, task_id: TaskId, on: TaskId) -> None:
        """Make sure that a task can wait for another one.

        Raises:
            NotPossible: it is closed, waits already, or would wait for itself in the end.
        """
        task = self.tasks[task_id]
        if task.state not in OPEN:
            raise NotPossible(f"{task_id} is {task.state}: it cannot wait for anything")
        if on in self.depends.get(task_id, ()):
            raise NotPossible(f"{task_id} waits for {on} already")
        if (path := self._path(on, task_id)) is not None:
            raise NotPossible(
                f"{task_id} cannot wait for {on}, which would wait for {task_id} in the end: "
                f"{' → '.join((task_id, *path))}"
            )

    def _path(self, start: TaskId, end: TaskId) -> tuple[TaskId, ...] | None:
        """Return how `start` waits for `end`, both included; None where it does not."""
        came: dict[TaskId, TaskId | None] = {start: None}
        pending = [start]
        while pending:
            here = pending.pop()
            if here == end:
                path: list[TaskId] = [here]
                while (before := came[path[-1]]) is not None:
                    path.append(before)
                return tuple(reversed(path))
            for on in self.depends.get(here, ()):
                if on not in came:
                    came[on] = here
                    pending.append(on)
        return None


def _id(letter: str, name: str) -> str:
    number = name.strip().lstrip("#").upper().removeprefix(letter)
    return f"{letter}{int(number)}" if number.isascii() and number.isdigit() else name


def number(id_: str) -> int:
    """Return the number in the id of a task or a goal; 0 where it has none."""
    digits = id_[1:]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _rank(task: Task) -> tuple[int, int, int]:
    return (
        STATES.index(task.state),
        PRIORITIES.index(task.priority),
        number(task.task_id),
    )
