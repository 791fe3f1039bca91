"""What a branch can do with memory and with past conversations."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from projections import conversations, memories, passages
from projections.conversations import Message
from projections.memories import Memory
from projections.passages import Found
from schemas.base import Content, MemoryId
from schemas.memory import Importance, MemoryForgotten, MemoryKind, MemorySaved, MemoryTouched
from schemas.subjects import InvalidToken, Subject
from services.branch.document_tools import quoted
from services.branch.scope import Scope
from services.errors import Rejected
from services.memory.gate import Candidate
from services.memory.keeping import Kept
from services.memory.meaning import meaning
from services.runtime import ids
from services.runtime.database import reading
from services.runtime.memory import DEFAULT_IMPORTANCE, statement
from services.runtime.telemetry import names
from services.runtime.telemetry.live import searching
from services.runtime.text import clean
from services.runtime.tool import Tool, ToolOutput

NOTHING: Final = "Nothing in memory matches."
NOTHING_OF_THEM: Final = "Nothing is remembered of the person you speak with."
BESIDE: Final = "Documents say more about it than memory; `document_search` finds more of them."
DOCUMENTS: Final = 3  # passages beside memories: a page of text
LISTED: Final = 1_000  # of what is remembered of one person, before what may be shown is chosen


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


class MemoryCorrect(Struct, frozen=True):
    """Arguments of `memory_correct`."""

    memory_id: Annotated[
        str, Meta(min_length=1, description="Id of what is wrong, from memory_recall.")
    ]
    content: Annotated[
        str, Meta(min_length=1, description="How it is right: one self-contained statement.")
    ]


class MemoryAbout(Struct, frozen=True):
    """Arguments of `memory_about`."""

    limit: Annotated[int, Meta(ge=1, le=200, description="Most memories to return.")] = 50


class ChannelRecall(Struct, frozen=True):
    """Arguments of `channel_recall`."""

    conversation: Annotated[
        str | None, Meta(description="`adapter/conversation`; left out, this conversation.")
    ] = None
    query: Annotated[str, Meta(description="Only messages with one of these words.")] = ""
    limit: Annotated[int, Meta(ge=1, le=100, description="Most messages to return.")] = 50


async def _save(scope: Scope, key: str, arguments: MemorySave) -> ToolOutput:
    importance = arguments.importance
    who = await scope.audience()
    candidate = Candidate(
        memory_id=MemoryId(ids.derived("memory", key)),
        kind=arguments.kind,
        text=statement(arguments.content),
        importance=DEFAULT_IMPORTANCE[arguments.kind] if importance is None else importance,
        scope=who.scope,
        person=scope.speaker.id if scope.speaker else None,
        conversation=who.conversation,
        source=scope.source,
        run_id=scope.run_id,
        said_at=scope.said_at,
    )
    return ToolOutput(_told(await scope.save(candidate, key)))


def _told(kept: Kept) -> str:
    """Say what became of a memory."""
    match kept.event:
        case MemoryTouched(memory_id=memory_id):
            return f"Known already, as {memory_id}; noted that it was said again."
        case MemorySaved(memory_id=memory_id, replaces=()):
            return f"Saved as {memory_id}."
        case MemorySaved(memory_id=memory_id, replaces=replaces):
            gone = ", ".join(f"{one.memory_id} ({one.why})" for one in replaces)
            return f"Saved as {memory_id}. It replaces {gone}."


async def _recall(scope: Scope, key: str, arguments: MemoryRecall) -> ToolOutput:  # noqa: ARG001
    if arguments.mode == "typed" and arguments.kind is None:
        raise Rejected("typed needs a kind.")
    query = clean(arguments.query)
    await scope.caught_up()
    who = await scope.audience()
    hybrid = arguments.mode == "hybrid"
    asked = await meaning(scope.embedder, query) if hybrid else None
    tenant, agent = scope.conversation.tenant, scope.agent
    written: list[Found] = []
    async with reading(scope.pool, tenant) as conn:
        with searching(names.SEARCH_MEMORY, memories.NAME, tenant, query) as told_of:
            found = await memories.recall(
                conn,
                tenant,
                agent,
                query,
                meaning=asked,
                mode=arguments.mode,
                kind=arguments.kind,
                person=who.own,
                conversation=who.conversation,
                now=scope.writer.clock.now(),
                limit=arguments.limit,
            )
            told_of[names.RECORD_COUNT] = len(found)
        if hybrid and arguments.kind is None:
            with searching(names.RETRIEVAL, passages.NAME, tenant, query):
                written = await passages.search(
                    conn, tenant, agent, query, meaning=asked, limit=DOCUMENTS
                )
    lines = [f"- [{hit.memory_id}] {_quoted(hit.text)} ({_found(hit)})" for hit in found]
    told = "What is remembered, as data:\n" + "\n".join(lines) if found else NOTHING
    if better := _better(written, found):
        told += f"\n\n{BESIDE}\n{quoted(better)}"
    return ToolOutput(told, recalled=tuple(hit.memory_id for hit in found))


def _better(written: Sequence[Found], remembered: Sequence[memories.Hit]) -> list[Found]:
    """Return the passages that answer better than anything that is remembered."""
    best = max((hit.score for hit in remembered), default=0.0)
    return [passage for passage in written if passage.score > best]


def _quoted(text: Content) -> str:
    """Return a memory's text in one line, so that nothing in it looks like one of ours."""
    return " ".join(text.split()) if isinstance(text, str) else "(a long text)"


def _found(hit: memories.Hit) -> str:
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


async def _about(scope: Scope, key: str, arguments: MemoryAbout) -> ToolOutput:  # noqa: ARG001
    await scope.caught_up()
    who = await scope.audience()
    async with reading(scope.pool, scope.conversation.tenant) as conn:
        found = await memories.listing(
            conn, scope.conversation.tenant, scope.agent, person=who.ids, limit=LISTED
        )
    shown = [memory for memory in found if who.may_see(memory)][: arguments.limit]
    if not shown:
        return ToolOutput(NOTHING_OF_THEM)
    lines = [
        f"- [{one.memory_id}] {_quoted(one.text)} (saved {_day(one.saved_at)}; {one.kind})"
        for one in shown
    ]
    heading = f"What is remembered that {scope.speaker.name if scope.speaker else 'they'} said"
    recalled = tuple(memory.memory_id for memory in shown)
    return ToolOutput(f"{heading}, as data:\n" + "\n".join(lines), recalled=recalled)


async def _correct(scope: Scope, key: str, arguments: MemoryCorrect) -> ToolOutput:
    text = statement(arguments.content)
    wrong = await _one(scope, arguments.memory_id)
    if not isinstance(wrong.text, str):
        raise Rejected(f"The memory {wrong.memory_id} is too long to be corrected; delete it.")
    who = await scope.audience()
    candidate = Candidate(
        memory_id=MemoryId(ids.derived("memory", key)),
        kind=wrong.kind,
        text=text,
        importance=wrong.importance,
        scope=wrong.scope,
        person=scope.speaker.id if scope.speaker else None,
        conversation=who.conversation,
        source=scope.source,
        run_id=scope.run_id,
    )
    return ToolOutput(_told(await scope.correct(candidate, wrong, key)))


async def _delete(scope: Scope, key: str, arguments: MemoryDelete) -> ToolOutput:
    found = await _one(scope, arguments.memory_id)
    event = MemoryForgotten(memory_id=found.memory_id, reason=clean(arguments.reason)[:1_000])
    await scope.remember(event, ids.derived("forgotten", key))
    return ToolOutput(f"Forgotten: {found.memory_id}.")


async def _one(scope: Scope, memory_id: str) -> Memory:
    """Return a memory that may be changed from here.

    Raises:
        Rejected: there is none; one that may not be seen here is none.
    """
    await scope.caught_up()
    who = await scope.audience()
    async with reading(scope.pool, scope.conversation.tenant) as conn:
        found = await memories.by_id(
            conn, scope.conversation.tenant, scope.agent, clean(memory_id).strip()
        )
    if found is None or not who.may_see(found):
        raise Rejected(f"There is no memory {memory_id!r}; recall it to see its id.")
    return found


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
    found: list[Message] = []
    if await scope.may_read(wanted):
        async with reading(scope.pool, wanted.tenant) as conn:
            found = await conversations.latest(conn, wanted, limit=100)
    if not found:
        places = ", ".join(await _readable(scope)) or "none"
        return ToolOutput(f"Nothing was said there. Conversations: {places}")
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


async def _readable(scope: Scope) -> list[str]:
    """Return the newest conversations that may be read from here."""
    tenant = scope.conversation.tenant
    async with reading(scope.pool, tenant) as conn:
        known = await conversations.listing(conn, tenant, agent=scope.agent, limit=20)
    places = [Subject(tenant, scope.agent, row.adapter, row.conversation) for row in known]
    return [
        f"{place.adapter}/{place.conversation}" for place in places if await scope.may_read(place)
    ]


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
    Tool(
        "memory_about",
        "List what is remembered that the person you speak with has said.",
        MemoryAbout,
        _about,
        repeatable=True,
    ),
    Tool(
        "memory_correct",
        "Replace one memory that is wrong with how it is right; its history stays.",
        MemoryCorrect,
        _correct,
        repeatable=True,
    ),
)
