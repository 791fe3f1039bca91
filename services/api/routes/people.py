"""Who is who across platforms.

GET   /people           who has spoken, and who was linked
POST  /people/link      make two ids one person
POST  /people/unlink    make an id a person of its own
"""

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Struct

from services.api.routes.boards import CHANGED
from services.api.routes.messages import Author
from services.api.routes.scope import ADAPTER, Parts, Tenant, failures
from services.memory.identities import Identities
from services.memory.people import Known, People, everyone, link, unlink
from services.runtime.process import Process
from services.runtime.writer import Writer


class Link(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two ids that are one person."""

    author: Author
    """Who says so; recorded."""
    person: str
    """As on its platform: `slack:U123`."""
    same_as: str
    """The id that stands for the person from now on."""


class Unlink(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An id that is a person of its own."""

    author: Author
    person: str


class PersonIds(Struct, frozen=True, kw_only=True):
    """One person."""

    person: str
    """The id that stands for them."""
    ids: tuple[str, ...]
    """All of them."""


class PeoplePage(Struct, frozen=True, kw_only=True):
    """Everyone, who spoke last first."""

    items: list[Known]
    next: None = None


@get("/people", summary="List people", responses=failures(503))
async def list_people(tenant: Tenant, process: Parts) -> PeoplePage:
    """Return who has spoken and who was linked, who spoke last first."""
    return PeoplePage(items=await everyone(People(process.log), process.pool, tenant))


@post("/people/link", status_code=200, summary="Link two ids", responses=CHANGED)
async def link_person(data: JSONBody[Link], tenant: Tenant, process: Parts) -> PersonIds:
    """Make two ids one person: what is remembered under one is known under the other."""
    writer = _writer(process, data.author)
    return _ids(await link(writer, tenant, data.person, data.same_as), data.same_as)


@post("/people/unlink", status_code=200, summary="Unlink an id", responses=CHANGED)
async def unlink_person(data: JSONBody[Unlink], tenant: Tenant, process: Parts) -> PersonIds:
    """Make an id a person of its own again."""
    writer = _writer(process, data.author)
    return _ids(await unlink(writer, tenant, data.person), data.person)


def _writer(process: Process, author: str) -> Writer:
    return process.writer(f"person:{ADAPTER}:{author}")


def _ids(found: Identities, person: str) -> PersonIds:
    ids = found.all_of(person.strip())
    return PersonIds(person=ids[0], ids=ids)


routes = [list_people, link_person, unlink_person]
