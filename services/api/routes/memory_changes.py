"""What an agent remembers, put right by people; every request may be sent again.

POST  /agents/{agent}/memories                      save one, through the gate
POST  /agents/{agent}/memories/forget               forget all that came from a person
POST  /agents/{agent}/memories/{memory}/correct     say how one is right
POST  /agents/{agent}/memories/{memory}/forget      let one be recalled no more
"""

from typing import Annotated

from litestar import post
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from schemas.memory import Importance, MemoryKind, Scope
from services.api.routes.boards import CHANGED, Body
from services.api.routes.forks import Named
from services.api.routes.remembered import Memories, Person, heard
from services.api.routes.scope import ADAPTER, Parts
from services.memory.desk import LONGEST_REASON, Author, Forgotten, NewMemory, Stored, scope_in
from services.runtime import forks

Reason = Annotated[str, Meta(max_length=LONGEST_REASON, description="Why.")]


class MemoryWanted(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something to remember."""

    text: Annotated[str, Meta(description="One self-contained statement.")]
    kind: MemoryKind = "fact"
    importance: Annotated[
        Importance | None, Meta(description="Left out, the usual one of its kind.")
    ] = None
    scope: Annotated[
        Scope | None,
        Meta(
            description="Who may see it. Left out: as if it were said in `conversation`, or, where "
            "there is none, to the agent alone."
        ),
    ] = None
    person: Annotated[
        Person | None, Meta(description="Whom it comes from; left out, the author.")
    ] = None
    conversation: Annotated[
        Named | None, Meta(description="Where it came up; it has to be there.")
    ] = None


class Correction(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a memory is right."""

    text: Annotated[str, Meta(description="One self-contained statement.")]
    person: Annotated[
        Person | None, Meta(description="Refuse it unless the memory came from this person.")
    ] = None


class MemoryUnwanted(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a memory is to be forgotten."""

    reason: Reason = ""
    person: Annotated[
        Person | None, Meta(description="Refuse it unless the memory came from this person.")
    ] = None


class PersonUnwanted(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of whom all is to be forgotten, and why."""

    person: Person
    reason: Reason = ""


class ForgottenNow(Struct, frozen=True, kw_only=True):
    """What is recalled no more."""

    items: list[Forgotten]


@post("/", status_code=201, summary="Save a memory", responses=CHANGED)
async def save_memory(data: JSONBody[MemoryWanted], desk: Memories, process: Parts) -> Stored:
    """Remember a statement, unless it is known; what it contradicts is replaced."""
    person = data.person or f"{ADAPTER}:{data.author}"
    scope, conversation = data.scope, None
    if data.conversation is not None:
        state, hearing = await heard(desk, process, data.conversation)
        forks.check(state.fork)
        conversation = hearing.conversation
        scope = scope or scope_in(hearing, await desk.there.ids(person))
    new = NewMemory(
        text=data.text,
        kind=data.kind,
        importance=data.importance,
        scope=scope or "person",
        person=person,
        conversation=conversation,
    )
    return await desk.save(new, _author(data))


@post("/forget", status_code=200, summary="Forget all that came from a person", responses=CHANGED)
async def forget_person(data: JSONBody[PersonUnwanted], desk: Memories) -> ForgottenNow:
    """Let nothing that came from a person be recalled any more, what was replaced included."""
    await desk.there.caught_up()
    found = await desk.there.listing(person=data.person, replaced=True)
    return ForgottenNow(items=await desk.forget(found, _author(data), reason=data.reason))


@post("/{memory:str}/correct", status_code=200, summary="Correct a memory", responses=CHANGED)
async def correct_memory(
    memory: FromPath[str], data: JSONBody[Correction], desk: Memories
) -> Stored:
    """Say how a memory is right; what it said before stays in its history."""
    await desk.there.caught_up()
    return await desk.correct(memory, data.text, _author(data), person=data.person)


@post("/{memory:str}/forget", status_code=200, summary="Forget a memory", responses=CHANGED)
async def forget_memory(
    memory: FromPath[str], data: JSONBody[MemoryUnwanted], desk: Memories
) -> ForgottenNow:
    """Let a memory be recalled no more; once more is no harm."""
    await desk.there.caught_up()
    found = await desk.there.one(memory, person=data.person, replaced=True, forgotten=True)
    return ForgottenNow(items=await desk.forget([found], _author(data), reason=data.reason))


def _author(body: Body) -> Author:
    return Author(f"person:{ADAPTER}:{body.author}", body.key or "")


routes = [save_memory, forget_person, correct_memory, forget_memory]
