"""People: who has spoken, under which ids, and when.

Grain:    one row per id of a platform
Source:   message_received
Read by:  penstock person list
Rebuild:  any time

Who is the same person as whom is the fold of person_linked and person_unlinked, which services and
commands read from the log: it is short, and privacy depends on it.
"""

from collections.abc import Iterator

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Merge, Statement
from schemas.channel import MessageReceived

NAME = "people"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("people.sql")
TABLES = ("people",)

PEOPLE = Merge(
    "people",
    key=("tenant", "person"),
    first=("first_at",),
    last=("name", "last_at", "last_seq", "agent", "adapter", "conversation"),
)
TARGETS = (PEOPLE,)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `people`; times in UTC microseconds."""

    person: str
    """As on its platform: `portal:ana`."""
    name: str
    first_at: int
    last_at: int
    last_seq: int
    agent: str
    """With whom this person spoke last."""
    adapter: str
    conversation: str


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the row of whoever spoke."""
    event = recorded.event
    if not isinstance(event, MessageReceived):
        return
    where, at = place(recorded.subject), recorded.envelope.at
    row = {
        "tenant": where.tenant,
        "person": event.author.id,
        "name": event.author.name,
        "first_at": at,
        "last_at": at,
        "last_seq": recorded.seq,
        "agent": where.agent or "",
        "adapter": where.adapter or "",
        "conversation": where.conversation or "",
    }
    yield Statement(PEOPLE, row)


async def listing(conn: Conn, tenant: str, *, limit: int = 1_000) -> list[Person]:
    """Return those who spoke last, the latest first."""
    return await rows(conn, Person, SQL["listing"], {"tenant": tenant, "limit": limit})
