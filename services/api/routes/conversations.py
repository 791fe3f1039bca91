"""One conversation: how it stands, and what is at work in it.

GET   …/                        how it stands, from the log
POST  …/runs/{run_id}/cancel    ask a branch or a worker to stop
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from litestar import get, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from projections import runs
from schemas.base import RunId
from services.api import reading
from services.api.faults import NotThere
from services.api.feed.settled import is_settled
from services.api.routes.messages import Author, Receipt
from services.api.routes.scope import ADAPTER, Parts, Place, failures
from services.errors import Transient
from services.runtime.conversation import ActiveRun, OpenTurn
from services.runtime.intake import Intake
from services.runtime.process import Process


class TurnItem(Struct, frozen=True, kw_only=True):
    """The turn that is open."""

    turn_id: RunId
    started_at: int
    """UTC microseconds since 1970, like every time here."""
    attempt: int


class RunItem(Struct, frozen=True, kw_only=True):
    """A branch or a worker that has not ended."""

    run_id: RunId
    kind: Literal["branch", "worker"]
    task: str
    """Its beginning, on one line."""
    started_at: int
    interactive: bool
    waiting: bool
    """True: it gave a result and waits for input."""
    status: str | None
    """What it last said of itself; None: nothing, or the read models are away."""


class ConversationState(Struct, frozen=True, kw_only=True):
    """How a conversation stands."""

    agent: str
    conversation: str
    seq: int
    """Its last event; 0: nothing was ever said in it."""
    settled: bool
    """True: nothing more will happen until somebody says something."""
    unhandled: int
    """Messages and results that wait for a turn."""
    turn: TurnItem | None
    runs: list[RunItem]


class Cancellation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who wants it to stop, and why."""

    author: Author | None = None
    reason: Annotated[str, Meta(max_length=1_000)] = ""


@get("/", summary="See how a conversation stands", responses=failures(404, 422, 503))
async def show_conversation(place: Place, process: Parts) -> ConversationState:
    """Return the open turn, the active runs and whether it has settled, as the log has it now."""
    state = await process.conversations.newest(place)
    statuses = await _statuses(process, place.tenant, state.runs)
    return ConversationState(
        agent=place.agent or "",
        conversation=place.conversation or "",
        seq=state.seq,
        settled=is_settled(state, max_retriggers=process.config.channel.max_retriggers),
        unhandled=len(state.unhandled),
        turn=_turn(state.turn),
        runs=[
            RunItem(
                run_id=run.run_id,
                kind=run.kind,
                task=run.task,
                started_at=run.at,
                interactive=run.interactive,
                waiting=run.waiting,
                status=statuses.get(run.run_id),
            )
            for run in state.runs
        ],
    )


def _turn(turn: OpenTurn | None) -> TurnItem | None:
    if turn is None:
        return None
    return TurnItem(turn_id=turn.turn_id, started_at=turn.at, attempt=turn.attempt)


async def _statuses(process: Process, tenant: str, active: Sequence[ActiveRun]) -> dict[str, str]:
    """Return what runs last said of themselves; nothing while the read models are away."""
    if not active:
        return {}
    try:
        async with reading.of_tenant(process.pool, tenant) as conn:
            found = [await runs.one(conn, tenant, run.run_id) for run in active]
    except Transient:
        return {}
    return {run.run_id: run.status for run in found if run is not None and run.status}


@post(
    "/runs/{run_id:str}/cancel",
    status_code=202,
    summary="Stop a branch or a worker",
    responses=failures(404, 413, 415, 422, 503, 507),
)
async def cancel_run(
    place: Place, process: Parts, run_id: FromPath[str], data: JSONBody[Cancellation | None] = None
) -> Receipt:
    """Ask for a run to stop; that it has stopped comes on the stream."""
    state = await process.conversations.newest(place)
    run = state.run(run_id)
    if run is None:
        active = ", ".join(each.run_id for each in state.runs) or "none"
        raise NotThere(f"no branch or worker {run_id!r} is active here; active: {active}")
    wanted = data or Cancellation()
    by = f"person:{ADAPTER}:{wanted.author}" if wanted.author else "api"
    intake = Intake(process.writer("api"), process.bodies, process.agents)
    receipt = await intake.cancel(place, run.run_id, by=by, reason=wanted.reason)
    return Receipt(event_id=receipt.event_id, seq=receipt.seq)


routes = [show_conversation, cancel_run]
