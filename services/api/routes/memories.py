"""What an agent remembers, as people look at it.

GET   /agents/{agent}/memories                which there are, newest first
GET   /agents/{agent}/memories/recall         what is found, best first, and why
GET   /agents/{agent}/memories/export         all of a person, as JSON
GET   /agents/{agent}/memories/export.md      the same, as markdown
GET   /agents/{agent}/memories/{memory}       one, where it comes from and what replaced what

Whoever has the token may see all of a tenant; `person` narrows it to one.
"""

from typing import Annotated

from litestar import Response, Router, get
from litestar.di import Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from projections.memories import NEWEST, Hit, Memory, Mode
from schemas.memory import MemoryKind, Scope
from services.api.routes import memory_changes
from services.api.routes.pages import Before, Limit, following
from services.api.routes.remembered import PERSON, Memories, heard
from services.api.routes.scope import AgentName, Parts, Tenant, failures
from services.memory.audience import Audience
from services.memory.desk import Desk
from services.memory.export import markdown
from services.memory.keeping import Keeper
from services.memory.long_term import Detail, InvalidRecall, LongTerm, Question
from services.memory.neighbours import Place, Projected
from services.memory.people import People
from services.runtime.process import Process

OfPerson = Annotated[
    str | None,
    QueryParameter(
        min_length=1, max_length=200, description=f"Only what came from this person. {PERSON}"
    ),
]
Whose = Annotated[str, QueryParameter(min_length=1, max_length=200, description=PERSON)]
Kind = Annotated[MemoryKind | None, QueryParameter(description="One kind only.")]
OneScope = Annotated[Scope | None, QueryParameter(name="scope", description="One scope only.")]
Since = Annotated[
    int | None, QueryParameter(ge=0, description="Saved at or after, UTC microseconds.")
]
Until = Annotated[int | None, QueryParameter(ge=0, description="Saved before.")]


class MemoryPage(Struct, frozen=True, kw_only=True):
    """Memories, newest first."""

    items: list[Memory]
    next: int | None
    """Pass it as `before` for the following page; None: there is none."""


class Recalled(Struct, frozen=True, kw_only=True):
    """What was found, best first; each says by what."""

    items: list[Hit]
    next: None = None


class Remembered(Struct, frozen=True, kw_only=True):
    """All that came from a person; what was replaced is in it, what was forgotten is not."""

    person: str
    """The id that stands for them."""
    ids: tuple[str, ...]
    """All of them."""
    memories: list[Memory]


@get("/", summary="List what an agent remembers", responses=failures(404, 422, 503))
async def list_memories(  # noqa: PLR0913 - what to list, and which page of it
    desk: Memories,
    *,
    kind: Kind = None,
    of_scope: OneScope = None,
    person: OfPerson = None,
    since: Since = None,
    until: Until = None,
    text: Annotated[
        str | None,
        QueryParameter(
            max_length=1_000,
            description='Only those with all of these words, inflection aside; `"…"` for a '
            "phrase, `-` before what must not be in it.",
        ),
    ] = None,
    replaced: Annotated[
        bool, QueryParameter(description="Also what a newer memory has replaced.")
    ] = False,
    before: Before = NEWEST,
    limit: Limit = 50,
) -> MemoryPage:
    """Return memories of every scope, newest first, with what was saved before this was asked."""
    await desk.there.caught_up()
    items = await desk.there.listing(
        kind=kind,
        scope=of_scope,
        person=person,
        since=since,
        until=until,
        text=text,
        replaced=replaced,
        before=before,
        limit=limit,
    )
    return MemoryPage(items=items, next=following([it.seq for it in items], limit))


@get("/recall", summary="Recall what matters", responses=failures(404, 422, 503))
async def recall(  # noqa: PLR0913 - what to look for, and who hears it
    desk: Memories,
    process: Parts,
    *,
    words: Annotated[
        str,
        QueryParameter(
            name="query", max_length=4_000, description="A question, or the words that matter."
        ),
    ] = "",
    mode: Annotated[
        Mode,
        QueryParameter(
            description="`hybrid`: by words, meaning and links. `recent`: newest first. "
            "`important`: most important first. `typed`: one kind, most important first."
        ),
    ] = "hybrid",
    kind: Kind = None,
    of_scope: OneScope = None,
    person: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            max_length=200,
            description=f"As it would be told to this person alone. {PERSON}",
        ),
    ] = None,
    conversation: Annotated[
        str | None,
        QueryParameter(
            min_length=1,
            max_length=300,
            description="As it would be told in this conversation, `C` or `ADAPTER/C`. With "
            "neither, whatever there is.",
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, QueryParameter(ge=1, le=50, description="Most memories.")] = 10,
) -> Recalled:
    """Return memories, best first, with the rank and the score of every signal that found one."""
    if person is not None and conversation is not None:
        raise InvalidRecall("ask for a person or for a conversation")
    await desk.there.caught_up()
    hearing: Audience | None = None
    if person is not None:
        hearing = await desk.there.alone(person)
    elif conversation is not None:
        _, hearing = await heard(desk, process, conversation)
    asked = Question(
        query=words, mode=mode, kind=kind, scope=of_scope, since=since, until=until, limit=limit
    )
    return Recalled(items=await desk.there.recall(asked, hearing))


@get("/export", summary="Export a person's memories", responses=failures(404, 422, 503))
async def export_json(person: Whose, desk: Memories) -> Remembered:
    """Return all that came from a person, newest first."""
    return await _remembered(person, desk)


@get(
    "/export.md",
    media_type="text/markdown",
    summary="Export a person's memories as markdown",
    responses=failures(404, 422, 503)
    | {
        200: ResponseSpec(
            str, media_type="text/markdown", generate_examples=False, description="The document."
        )
    },
)
async def export_markdown(person: Whose, desk: Memories) -> Response[str]:
    """Return all that came from a person, for that person to read."""
    told = await _remembered(person, desk)
    text = "\n".join(markdown(told.ids, told.memories)) + "\n"
    headers = {"Content-Disposition": 'attachment; filename="memories.md"'}
    return Response(text, media_type="text/markdown; charset=utf-8", headers=headers)


@get("/{memory:str}", summary="See one memory", responses=failures(404, 409, 422, 503))
async def get_memory(memory: FromPath[str], desk: Memories, person: OfPerson = None) -> Detail:
    """Return a memory, the event that it comes from, its links, what it replaced and by what."""
    await desk.there.caught_up()
    return await desk.there.detail(await desk.there.one(memory, person=person, replaced=True))


async def _remembered(person: str, desk: Desk) -> Remembered:
    await desk.there.caught_up()
    ids = await desk.there.ids(person)
    found = await desk.there.listing(person=person, replaced=True)
    return Remembered(person=ids[0], ids=ids, memories=found)


def router(process: Process) -> Router:
    """Return the routes; what is saved is decided on by words alone, as at the command line."""
    people, known = People(process.log), Projected(process.pool)
    keeper = Keeper(process.writer("api"), known)

    async def desk_of(agent: AgentName, tenant: Tenant) -> Desk:
        await process.agents.get(tenant, agent)
        there = LongTerm(
            process.log,
            process.pool,
            Place(tenant, agent),
            people,
            known,
            process.clock,
            process.embedder,
        )
        return Desk(there, keeper)

    return Router(
        "/agents/{agent:str}/memories",
        route_handlers=[
            *(list_memories, recall, export_json, export_markdown, get_memory),
            *memory_changes.routes,
        ],
        dependencies={"desk": Provide(desk_of)},
    )
