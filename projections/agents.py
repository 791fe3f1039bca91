"""Agents: which there are, as last defined.

Grain:    one row per agent, retired ones included
Source:   agent_defined, agent_retired
Read by:  agent lists of the api and the command line
Rebuild:  any time
"""

from collections.abc import Iterator

import msgspec

from projections._recorded import Recorded, place
from projections._sql import Conn, load, rows
from projections._statement import Merge, Row, Statement
from schemas.base import AgentId
from schemas.config import AgentDefined, AgentRetired

NAME = "agents"  # key of our position in projection_positions: never rename
VERSION = 1
SQL = load("agents.sql")
TABLES = ("agents",)

AGENTS = Merge(
    "agents",
    key=("tenant", "agent"),
    first=(),
    last=("name", "instructions", "model", "retired", "defined_at", "seq"),
)
TARGETS = (AGENTS,)


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `agents`."""

    agent: AgentId
    name: str
    instructions: str
    model: str | None
    """None for the installation's."""
    retired: bool
    defined_at: int
    """UTC microseconds."""
    seq: int
    """Last change."""


def project(recorded: Recorded) -> Iterator[Statement]:
    """Yield the agent's row."""
    event = recorded.event
    if not isinstance(event, AgentDefined | AgentRetired):
        return
    row: Row = {
        "tenant": place(recorded.subject).tenant,
        "agent": event.agent,
        "seq": recorded.seq,
        "retired": isinstance(event, AgentRetired),
    }
    if isinstance(event, AgentDefined):
        row |= {
            "name": event.name,
            "instructions": event.instructions,
            "model": event.model or "",
            "defined_at": recorded.envelope.at,
        }
    yield Statement(AGENTS, row)


async def listing(conn: Conn, tenant: str, *, retired: bool = False) -> list[Agent]:
    """Return the tenant's agents by id; with `retired`, also those that take no more messages."""
    return await rows(conn, Agent, SQL["listing"], {"tenant": tenant, "retired": retired})


async def one(conn: Conn, tenant: str, agent: str) -> Agent | None:
    """Return the agent, retired or not, or None."""
    found = await rows(conn, Agent, SQL["one"], {"tenant": tenant, "agent": agent})
    return found[0] if found else None
