"""Two conversations that share a beginning, side by side from where they part."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

from msgspec import Struct

from schemas.channel import ConversationForked
from schemas.run import RunEvent
from schemas.subjects import InvalidToken, Subject, matching, parse
from services.errors import Rejected
from services.runtime import lineage
from services.runtime.bodies import BodyStore
from services.runtime.conversations import shown
from services.runtime.event_log import EventLog, Recorded
from services.runtime.exchanges import Exchange, Used, exchanges, shared
from services.runtime.forking import UnknownConversation

MOST: Final = 100  # rows, where nobody says how many


class NothingShared(Rejected):
    """The two conversations have no event in common."""


class Asked(Struct, frozen=True, kw_only=True):
    """Something that was said."""

    author: str
    text: str


class Came(Struct, frozen=True, kw_only=True):
    """What was asked on one side, and what came of it."""

    asked: list[Asked]
    replies: list[str]
    tools: list[Used]
    models: list[str]
    model_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    """None where no price is known."""
    outcome: str
    took_ms: int | None


class Total(Struct, frozen=True, kw_only=True):
    """What a side came to."""

    exchanges: int
    model_calls: int
    tool_calls: int
    tokens: int
    cost_usd: float | None


class Side(Struct, frozen=True, kw_only=True):
    """One of the two."""

    conversation: str
    """`adapter/conversation`."""
    model: str | None
    """That it was forked with; None where it has none of its own."""
    prompt: bool
    """Whether it was forked with a prompt of its own."""
    total: Total


class Row(Struct, frozen=True, kw_only=True):
    """The n-th exchange behind the parting, on both sides."""

    a: Came | None
    b: Came | None


class Parted(Struct, frozen=True, kw_only=True):
    """Where the two part."""

    events: int
    """How many are shared."""
    id: str
    """The last of them."""
    seq: int
    at: int
    """UTC microseconds."""


class Comparison(Struct, frozen=True, kw_only=True):
    """Both sides, aligned from where they part."""

    parted: Parted
    a: Side
    b: Side
    rows: list[Row]
    left_out: int
    """Rows behind these."""


async def compare(
    event_log: EventLog, bodies: BodyStore, one: Subject, other: Subject, *, most: int = MOST
) -> Comparison:
    """Return two conversations side by side.

    Args:
        event_log: Where they are.
        bodies: Where long texts are.
        one: Any stream of the first.
        other: Any stream of the second.
        most: How many rows.

    Raises:
        UnknownConversation: one of them has no event.
        NothingShared: they have no event in common.
    """
    mine, theirs = [await _talk(event_log, each) for each in (one, other)]
    count = shared(mine, theirs)
    if not count:
        raise NothingShared(f"{_name(one)} and {_name(other)} share no history")
    last = mine[count - 1]
    sides = [await _exchanges(event_log, talk, count) for talk in (mine, theirs)]
    length = max(map(len, sides))
    ours, others = [[await _came(it, bodies) for it in side[:most]] for side in sides]
    rows = [Row(a=a, b=b) for a, b in zip_longest(ours, others)]
    envelope = last.envelope
    return Comparison(
        parted=Parted(events=count, id=envelope.id, seq=last.seq, at=envelope.at),
        a=_side(one, mine[count:], sides[0]),
        b=_side(other, theirs[count:], sides[1]),
        rows=rows,
        left_out=length - len(rows),
    )


async def _talk(event_log: EventLog, conversation: Subject) -> list[Recorded]:
    try:
        str(conversation)
    except InvalidToken as error:
        raise UnknownConversation(str(error)) from error
    found = [recorded async for recorded in lineage.told(event_log, conversation, fresh=True)]
    if not found:
        raise UnknownConversation(
            f"agent {conversation.agent!r} has no conversation {_name(conversation)}"
        )
    return found


async def _exchanges(event_log: EventLog, talk: Sequence[Recorded], count: int) -> list[Exchange]:
    first: dict[str, int] = {}
    for recorded in talk[count:]:
        first.setdefault(recorded.subject, recorded.seq)
    steps: list[Recorded] = []
    for subject, seq in first.items():
        everything = matching(*parse(subject)[:4])
        steps += [
            recorded
            async for recorded in event_log.read(everything, after=seq - 1, fresh=True)
            if isinstance(recorded.event, RunEvent)
        ]
    return exchanges(talk, count, steps)


async def _came(it: Exchange, bodies: BodyStore) -> Came:
    return Came(
        asked=[Asked(author=who, text=await shown(text, bodies)) for who, text in it.asked],
        replies=[await shown(text, bodies) for text in it.replies],
        tools=it.tools,
        models=it.models,
        model_calls=it.model_calls,
        input_tokens=it.input_tokens,
        output_tokens=it.output_tokens,
        cost_usd=it.cost_usd,
        outcome=it.outcome,
        took_ms=it.took_ms,
    )


def _side(conversation: Subject, own: Sequence[Recorded], found: Sequence[Exchange]) -> Side:
    forks = [it.event for it in own if isinstance(it.event, ConversationForked)]
    costs = [it.cost_usd for it in found if it.cost_usd is not None]
    models = [fork.model for fork in forks if fork.model]
    return Side(
        conversation=_name(conversation),
        model=models[-1] if models else None,
        prompt=any(fork.prompt is not None for fork in forks),
        total=Total(
            exchanges=len(found),
            model_calls=sum(it.model_calls for it in found),
            tool_calls=sum(len(it.tools) for it in found),
            tokens=sum(it.input_tokens + it.output_tokens for it in found),
            cost_usd=sum(costs) if costs else None,
        ),
    )


def _name(conversation: Subject) -> str:
    return f"{conversation.adapter}/{conversation.conversation}"
