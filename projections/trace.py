"""What led to what: archived events of a turn or a conversation as a tree of causes.

Source:   the archive
Read by:  penstock trace, the trace page
"""

from collections.abc import Iterator, Sequence

import msgspec

from projections._sql import Conn
from projections.archive import Stored, of_conversation, of_turn
from schemas.base import EventId, RunId
from schemas.catalogue import AnyEvent, open_envelope
from schemas.channel import TurnCompleted, TurnFailed, TurnStarted
from schemas.envelope import decode
from schemas.run import ModelReturned, RunEnded, RunStarted, ToolReturned
from schemas.subjects import Subject


class Node(msgspec.Struct, kw_only=True):
    """One event, and those that it led to."""

    seq: int
    subject: str
    id: EventId
    type: str
    at: int
    """UTC microseconds."""
    actor: str
    cause: EventId | None
    turn: RunId | None
    event: AnyEvent | None
    """None when this version does not know its type, or it is damaged."""
    after_ms: float | None = None
    """Since its cause; None for the first."""
    took_ms: float | None = None
    """What ended with this event: a model call, a tool call, a turn, a run."""
    cost_usd: float | None = None
    children: list["Node"] = msgspec.field(default_factory=list)
    """In log order."""

    def walk(self) -> Iterator[tuple[int, "Node"]]:
        """Yield this node and all below it with their depths, parents first."""
        rest = [(0, self)]
        while rest:
            depth, node = rest.pop()
            yield depth, node
            rest += [(depth + 1, child) for child in reversed(node.children)]


async def trace(
    conn: Conn, conversation: Subject, *, turn: str | None = None, after: int = 0
) -> list[Node]:
    """Return the roots of a conversation's causes, or of one of its turns, in log order.

    Args:
        conn: Anyone's connection; row-level security narrows it further.
        conversation: Any stream of it; only its tenant counts when `turn` is given.
        turn: One turn only, with the branches and workers that came from it.
        after: Sequence to start behind.
    """
    if turn is not None:
        return tree(await of_turn(conn, conversation.tenant, turn, after=after))
    return tree(await of_conversation(conn, conversation, after=after))


def tree(events: Sequence[Stored]) -> list[Node]:
    """Return the events in log order, each below its cause where that is among them."""
    nodes: dict[str, Node] = {}
    began: dict[str, int] = {}
    roots: list[Node] = []
    for stored in events:
        node = _node(stored)
        _measure(node, began)
        cause = nodes.get(node.cause) if node.cause else None
        if cause is None:
            roots.append(node)
        else:
            node.after_ms = (node.at - cause.at) / 1_000
            cause.children.append(node)
        nodes.setdefault(node.id, node)
    return roots


def _node(stored: Stored) -> Node:
    try:
        envelope = decode(stored.body)
    except msgspec.DecodeError:
        return Node(
            seq=stored.seq,
            subject=stored.subject,
            id=EventId(f"damaged-{stored.seq}"),
            type="damaged",
            at=0,
            actor="?",
            cause=None,
            turn=None,
            event=None,
        )
    try:
        event = open_envelope(envelope)
    except msgspec.DecodeError:
        event = None
    return Node(
        seq=stored.seq,
        subject=stored.subject,
        id=envelope.id,
        type=envelope.type,
        at=envelope.at,
        actor=envelope.actor,
        cause=envelope.cause,
        turn=envelope.turn,
        event=event,
    )


def _measure(node: Node, began: dict[str, int]) -> None:
    """Set time and money: what the event says, or since its turn or run began."""
    match node.event:
        case TurnStarted(turn_id=run_id):
            began[f"turn {run_id}"] = node.at
        case RunStarted(run_id=run_id):
            began[f"run {run_id}"] = node.at
        case TurnCompleted(turn_id=run_id) | TurnFailed(turn_id=run_id):
            node.took_ms = _since(began.get(f"turn {run_id}"), node.at)
        case RunEnded(run_id=run_id):
            node.took_ms = _since(began.get(f"run {run_id}"), node.at)
        case ModelReturned() as returned:
            node.took_ms = float(returned.latency_ms)
            node.cost_usd = returned.usage.cost_usd
        case ToolReturned() as returned_tool:
            node.took_ms = float(returned_tool.duration_ms)
        case _:
            pass


def _since(start: int | None, end: int) -> float | None:
    return None if start is None else (end - start) / 1_000
