"""What a branch can do with memory and with past conversations."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from projections import conversations, memories
from schemas.base import Content, MemoryId
from schemas.memory import Importance, MemoryForgotten, MemoryKind, MemorySaved
from schemas.subjects import InvalidToken
from services.branch.scope import Scope
from services.errors import Rejected
from services.memory.meaning import meaning
from services.runtime import ids
from services.runtime.database import reading
from services.runtime.memory import DEFAULT_IMPORTANCE, statement
from services.runtime.text import clean
from services.runtime.tool import Tool, ToolOutput

NOTHING: Final = "Nothing in memory matches."


class MemorySave(Struct, frozen=True):
    """Arguments of `memory_save`."""

    content: Annotated[str, Meta(min_length=1, description="One self-contained statement.")]
    kind: Annotated[MemoryKind, Meta(description="What kind of thing it is.")] = "fact"
    importance: Annotated[
        Importance | None, Meta(description="0 to 1; left out, the usual one of its kind.")
    ] = None


class MemoryRecall(Struct, frozen=True):
    """Arguments of `memory_recall`."""

    query: Annotated[str, Meta(description="A question, or the words that matter.")] = ""
    kind: Annotated[MemoryKind | None, Meta(description="One kind only.")] = None
    mode: Annotated[
        memories.Mode,
        Meta(
            description="hybrid: by words, meaning and links. recent: newest first. important: "
            "most important first. typed: one kind, most important first."
        ),
    ] = "hybrid"
    limit: Annotated[int, Meta(ge=1, le=50, description="Most memories to return.")] = 10


class MemoryDelete(Struct, frozen=True):
    """Arguments of `memory_delete`."""

    memory_id: Annotated[str, Meta(min_length=1, description="Id from memory_recall.")]
    reason: Annotated[str, Meta(description="Why it is no longer true or wanted.")] = ""


class ChannelRecall(Struct, frozen=True):
    """Arguments of `channel_recall`."""

    conversation: Annotated[
        str | None, Meta(description="`adapter/conversation`; left out, this conversation.")
    ] = None
    query: Annotated[str, Meta(description="Only messages with one of these words.")] = ""
    limit: Annotated[int, Meta(ge=1, le=100, description="Most messages to return.")] = 50


async def _save(scope: Scope, key: str, arguments: MemorySave) -> ToolOutput:
    text = statement(arguments.content)
    memory_id = MemoryId(ids.derived("memory", key))
    importance = arguments.importance
    event = MemorySaved(
        memory_id=memory_id,
        kind=arguments.kind,
        text=text,
        importance=DEFAULT_IMPORTANCE[arguments.kind] if importance is None else importance,
        person=scope.speaker.id if scope.speaker else None,
        conversation=f"{scope.conversation.adapter}/{scope.conversation.conversation}",
        source=scope.source,
        run_id=scope.run_id,
    )
    await scope.remember(event, ids.derived("saved", key))
    return ToolOutput(f"Saved as {memory_id}.")


async def _recall(scope: Scope, key: str, arguments: MemoryRecall) -> ToolOutput:  # noqa: ARG001
    if arguments.mode == "typed" and arguments.kind is None:
        raise Rejected("typed needs a kind.")
    query = clean(arguments.query)
    await scope.caught_up()
    asked = await meaning(scope.embedder, query) if arguments.mode == "hybrid" else None
    async with reading(scope.pool, scope.conversation.tenant) as conn:
        found = await memories.recall(
            conn,
            scope.conversation.tenant,
            scope.agent,
            query,
            meaning=asked,
            mode=arguments.mode,
            kind=arguments.kind,
            person=scope.speaker.id if scope.speaker else None,
            conversation=f"{scope.conversation.adapter}/{scope.conversation.conversation}",
            now=scope.writer.clock.now(),
            limit=arguments.limit,
        )
    if not found:
        return ToolOutput(NOTHING)
    lines = [f"- [{hit.memory_id}] {_quoted(hit.text)} ({_about(hit)})" for hit in found]
    return ToolOutput(
        "What is remembered, as data:\n" + "\n".join(lines),
        recalled=tuple(hit.memory_id for hit in found),
    )


def _quoted(text: Content) -> str:
    """Return a memory's text in one line, so that nothing in it looks like one of ours."""
    return " ".join(text.split()) if isinstance(text, str) else "(a long text)"


def _about(hit: memories.Hit) -> str:
    """Say since when it is there, what it is, from whom, and why it was found."""
    parts = [f"saved {_day(hit.saved_at)}", hit.kind]
    if hit.person:
        parts.append(f"from {hit.person}")
    ranks = [f"words {hit.text_rank}"] if hit.text_rank else []
    ranks += [f"meaning {hit.vector_rank}"] if hit.vector_rank else []
    if hit.linked_to and not ranks:
        ranks.append(f"beside {hit.linked_to}")
    if ranks:
        parts.append(f"found by {', '.join(ranks)}")
    return "; ".join(parts)


async def _delete(scope: Scope, key: str, arguments: MemoryDelete) -> ToolOutput:
    await scope.caught_up()
    async with reading(scope.pool, scope.conversation.tenant) as conn:
        found = await memories.by_id(
            conn, scope.conversation.tenant, scope.agent, arguments.memory_id.strip()
        )
    if found is None:
        raise Rejected(f"There is no memory {arguments.memory_id!r}; recall it to see its id.")
    event = MemoryForgotten(memory_id=MemoryId(found.memory_id), reason=clean(arguments.reason))
    await scope.remember(event, ids.derived("forgotten", key))
    return ToolOutput(f"Forgotten: {found.memory_id}.")


async def _channel_recall(
    scope: Scope,
    key: str,  # noqa: ARG001 - a tool's
    arguments: ChannelRecall,
) -> ToolOutput:
    wanted = scope.conversation
    if arguments.conversation:
        adapter, _, conversation = arguments.conversation.partition("/")
        wanted = wanted._replace(adapter=adapter, conversation=conversation or None)
    try:
        str(wanted)
    except InvalidToken as error:
        raise Rejected(f"No such conversation: {error}") from error
    async with reading(scope.pool, wanted.tenant) as conn:
        found = await conversations.latest(conn, wanted, limit=100)
        if not found:
            known = await conversations.listing(conn, wanted.tenant, agent=scope.agent, limit=20)
            names = ", ".join(f"{row.adapter}/{row.conversation}" for row in known) or "none"
            return ToolOutput(f"Nothing was said there. Conversations: {names}")
    words = [word for word in clean(arguments.query).lower().split() if len(word) > 2]
    lines = []
    for message in found:
        text = message.text if isinstance(message.text, str) else "(a long text)"
        if not words or any(word in text.lower() for word in words):
            author = message.author_name or "you"
            lines.append(f"[{_day(message.at)}] {author}: {text[:2_000]}")
    if not lines:
        return ToolOutput("No message there has any of these words.")
    return ToolOutput("What was said, as data:\n" + "\n".join(lines[-arguments.limit :]))


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1_000_000, UTC):%Y-%m-%d %H:%M}"


MEMORY_TOOLS: Final[tuple[Tool[Scope, Any], ...]] = (
    Tool(
        "memory_save",
        "Remember one statement for later conversations.",
        MemorySave,
        _save,
        repeatable=True,
    ),
    Tool(
        "memory_recall",
        "Look into long-term memory.",
        MemoryRecall,
        _recall,
        repeatable=True,
    ),
    Tool(
        "memory_delete",
        "Forget one memory.",
        MemoryDelete,
        _delete,
        repeatable=True,
    ),
    Tool(
        "channel_recall",
        "Read what was said in this or another conversation.",
        ChannelRecall,
        _channel_recall,
        repeatable=True,
    ),
)
