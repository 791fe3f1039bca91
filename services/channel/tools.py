"""What a conversation's model can do: talk, delegate, steer what it delegated."""

import mimetypes
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Final, Protocol, TypeAlias, TypeVar

from msgspec import Meta, Struct

from schemas.base import RunId
from schemas.channel import (
    BranchRequested,
    CancelRequested,
    FileSent,
    InputRouted,
    ReactionAdded,
    ReplySent,
    WorkerRequested,
)
from schemas.schedule import Target
from services.channel.turn import Turn
from services.errors import Rejected
from services.runtime import ids, reading_back
from services.runtime.bodies import BodyStore, content
from services.runtime.jobs.desk import Jobs
from services.runtime.sandbox.workspace import Workspace
from services.runtime.text import clean
from services.runtime.tool import Tool, ToolOutput

DONE: Final = "Done, before an interruption."
FILE_BYTES: Final = 25 * 1024 * 1024  # most of one file that is sent


@dataclass(slots=True)
class Scope:
    """What the tools of one turn act on."""

    turn: Turn
    bodies: BodyStore
    workspace: Workspace
    max_branches: int
    max_workers: int
    jobs: Jobs | None = None
    job_index: "JobIndex | None" = None


@dataclass(frozen=True, slots=True)
class JobLine:
    """A job in a list."""

    places: frozenset[Target]
    """The conversations that it belongs to; none for one that an operator defined."""
    line: str
    """Its name and when it is due."""
    prompt: str
    """The beginning of what it does."""


class JobIndex(Protocol):
    """Where the agent's jobs are listed."""

    async def listing(self, tenant: str, agent: str) -> list[JobLine]:
        """Return a line for each.

        Raises:
            DatabaseUnavailable: they cannot be had now.
        """
        ...


A = TypeVar("A", bound=Struct)
Run: TypeAlias = Callable[[Scope, str, A], Awaitable[ToolOutput]]


class Reply(Struct, frozen=True):
    """Arguments of `reply`."""

    text: Annotated[str, Meta(min_length=1, description="What to say, as it will be delivered.")]


class BranchTask(Struct, frozen=True):
    """Arguments of `branch`."""

    task: Annotated[
        str, Meta(min_length=1, description="What to find out or remember, on its own feet.")
    ]


class SpawnWorker(Struct, frozen=True):
    """Arguments of `spawn_worker`."""

    task: Annotated[
        str, Meta(min_length=1, description="The whole task; the worker sees nothing else.")
    ]
    interactive: Annotated[
        bool, Meta(description="True to keep the worker for follow-ups after its first result.")
    ] = False


class Route(Struct, frozen=True):
    """Arguments of `route`."""

    worker_id: Annotated[str, Meta(description="Id of an active worker, from the status note.")]
    message: Annotated[str, Meta(min_length=1, description="What to tell it.")]


class Cancel(Struct, frozen=True):
    """Arguments of `cancel`."""

    run_id: Annotated[str, Meta(description="Id of an active branch or worker.")]
    reason: Annotated[str, Meta(description="Why, in a few words.")] = ""


class Skip(Struct, frozen=True):
    """Arguments of `skip`."""

    reason: Annotated[str, Meta(description="Why silence is right here.")] = ""


class React(Struct, frozen=True):
    """Arguments of `react`."""

    emoji: Annotated[str, Meta(min_length=1, max_length=64, description="One emoji.")]


class SendFile(Struct, frozen=True):
    """Arguments of `send_file`."""

    path: Annotated[str, Meta(min_length=1, description="Path in the workspace.")]
    caption: Annotated[str, Meta(description="A line to go with it.")] = ""


class CheckpointList(Struct, frozen=True):
    """Arguments of `checkpoint_list`."""


class CheckpointOpen(Struct, frozen=True):
    """Arguments of `checkpoint_open`."""

    number: Annotated[int, Meta(ge=1, description="Its number, as `#3` in the list.")]


async def _reply(scope: Scope, key: str, arguments: Reply) -> ToolOutput:
    text = await content(scope.bodies, clean(arguments.text))
    await scope.turn.effect(ReplySent(turn_id=scope.turn.turn_id, text=text), key)
    return ToolOutput("Sent.")


async def _branch(scope: Scope, key: str, arguments: BranchTask) -> ToolOutput:
    run_id = RunId(ids.derived("branch", scope.turn.turn_id, key))
    _check_room(scope, run_id, "branch", scope.max_branches)
    event = BranchRequested(
        run_id=run_id,
        task=await content(scope.bodies, clean(arguments.task)),
        forked_at=_fork(scope),
    )
    await scope.turn.effect(event, key)
    return ToolOutput(f"Branch {run_id} is at work; its conclusion will come as a message.")


async def _spawn_worker(scope: Scope, key: str, arguments: SpawnWorker) -> ToolOutput:
    run_id = RunId(ids.derived("worker", scope.turn.turn_id, key))
    _check_room(scope, run_id, "worker", scope.max_workers)
    event = WorkerRequested(
        run_id=run_id,
        task=await content(scope.bodies, clean(arguments.task)),
        interactive=arguments.interactive,
        parent=scope.turn.turn_id,
    )
    await scope.turn.effect(event, key)
    return ToolOutput(f"Worker {run_id} is at work; its result will come as a message.")


async def _route(scope: Scope, key: str, arguments: Route) -> ToolOutput:
    run_id = _active(scope, arguments.worker_id, "worker")
    event = InputRouted(run_id=run_id, text=await content(scope.bodies, clean(arguments.message)))
    await scope.turn.effect(event, key)
    return ToolOutput(f"Passed on to worker {run_id}.")


async def _cancel(scope: Scope, key: str, arguments: Cancel) -> ToolOutput:
    run_id = _active(scope, arguments.run_id, None)
    event = CancelRequested(run_id=run_id, reason=clean(arguments.reason)[:1_000])
    await scope.turn.effect(event, key)
    return ToolOutput(f"{run_id} is being stopped.")


async def _skip(scope: Scope, key: str, arguments: Skip) -> ToolOutput:  # noqa: ARG001 - a tool's
    return ToolOutput("Silent.")


async def _react(scope: Scope, key: str, arguments: React) -> ToolOutput:
    messages = [t.message_id for t in scope.turn.state.taken_in if t.message_id is not None]
    if not messages:
        raise Rejected("There is no message to react to in this turn.")
    event = ReactionAdded(
        turn_id=scope.turn.turn_id, emoji=clean(arguments.emoji), message_id=messages[-1]
    )
    await scope.turn.effect(event, key)
    return ToolOutput("Reacted.")


async def _send_file(scope: Scope, key: str, arguments: SendFile) -> ToolOutput:
    body = scope.workspace.read(arguments.path, limit=FILE_BYTES)
    name = PurePath(arguments.path).name
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    event = FileSent(
        turn_id=scope.turn.turn_id,
        name=clean(name),
        body=await scope.bodies.put(body, media_type=media_type),
        caption=clean(arguments.caption)[:2_000],
    )
    await scope.turn.effect(event, key)
    return ToolOutput(f"Sent {name}, {len(body):,} bytes.")


async def _checkpoint_list(scope: Scope, key: str, arguments: CheckpointList) -> ToolOutput:  # noqa: ARG001
    return ToolOutput(reading_back.listed(scope.turn.state.checkpoints))


async def _checkpoint_open(scope: Scope, key: str, arguments: CheckpointOpen) -> ToolOutput:  # noqa: ARG001
    one = reading_back.one_of(scope.turn.state.checkpoints, arguments.number)
    return ToolOutput(await reading_back.opened(one, scope.bodies))


def _fork(scope: Scope) -> Any:  # noqa: ANN401 - an event id; every open turn has one before it
    return scope.turn.state.at


def _check_room(scope: Scope, run_id: RunId, kind: str, most: int) -> None:
    active = [run for run in scope.turn.state.runs if run.kind == kind and run.run_id != run_id]
    if len(active) >= most:
        raise Rejected(
            f"{len(active)} of {most} {kind} runs are active in this conversation. "
            f"Wait for one to end, or cancel one."
        )


def _active(scope: Scope, wanted: str, kind: str | None) -> RunId:
    """Return the one active run that `wanted` names, by its id or the beginning of it."""
    runs = [run for run in scope.turn.state.runs if kind in {None, run.kind}]
    found = [run for run in runs if wanted and run.run_id.startswith(wanted.strip())]
    if len(found) != 1:
        names = ", ".join(run.run_id for run in runs) or "none"
        raise Rejected(f"No single active {kind or 'run'} is {wanted!r}. Active: {names}.")
    return found[0].run_id


def _once(run: Run[A]) -> Run[A]:
    """Let a tool that was interrupted behind its effect succeed, whatever has become of its object.

    A worker may have ended since it was told something; that does not undo the telling.
    """

    async def tried(scope: Scope, key: str, arguments: A) -> ToolOutput:
        try:
            return await run(scope, key, arguments)
        except (Rejected, OSError):
            if scope.turn.has_done(key):
                return ToolOutput(DONE)
            raise

    return tried


TOOLS: Final[tuple[Tool[Scope, Any], ...]] = (
    Tool(
        "reply",
        "Say something to the people in this conversation. Ends your turn.",
        Reply,
        _reply,
        repeatable=True,
    ),
    Tool(
        "branch",
        "Start a line of thought that knows this conversation and can use long-term memory: to "
        "remember, to recall, to think something through. Its conclusion comes back to you.",
        BranchTask,
        _once(_branch),
        repeatable=True,
    ),
    Tool(
        "spawn_worker",
        "Hand a task to a worker with a shell and files. Its result comes back to you.",
        SpawnWorker,
        _once(_spawn_worker),
        repeatable=True,
    ),
    Tool(
        "route",
        "Tell an active worker something: more to do, an answer, a correction.",
        Route,
        _once(_route),
        repeatable=True,
    ),
    Tool("cancel", "Stop an active branch or worker.", Cancel, _once(_cancel), repeatable=True),
    Tool("skip", "Say nothing. Ends your turn.", Skip, _skip, repeatable=True),
    Tool("react", "Add an emoji to the newest message.", React, _once(_react), repeatable=True),
    Tool(
        "send_file",
        "Send a file of the workspace, up to 25 MB, to this conversation.",
        SendFile,
        _once(_send_file),
        repeatable=True,
    ),
    Tool(
        "checkpoint_list",
        "List the checkpoints that stand for the older parts of this conversation.",
        CheckpointList,
        _checkpoint_list,
        repeatable=True,
    ),
    Tool(
        "checkpoint_open",
        "Read the whole summary of one checkpoint. What was said itself, a branch can read.",
        CheckpointOpen,
        _checkpoint_open,
        repeatable=True,
    ),
)
