"""Every projection, in one tuple, and how its tables come to be.

A projection whose VERSION differs from that of its rows is rebuilt when the projector starts.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from psycopg import sql

from projections import (
    activity,
    agents,
    archive,
    conversations,
    dead_letters,
    goals,
    jobs,
    memories,
    passage_vectors,
    passages,
    people,
    persistence,
    positions,
    runs,
    tasks,
    vectors,
)
from projections._recorded import Recorded
from projections._sql import Conn
from projections._statement import Statement, Target, fold

SEARCH: Final = passages.SQL["create_search"]
READER: Final = "penstock_reader"  # role of the readers, which sees the rows of one tenant


class _Module(Protocol):
    NAME: str
    VERSION: int
    SQL: dict[str, str]

    @property
    def TABLES(self) -> tuple[str, ...]: ...  # noqa: N802 - a constant of the module

    @property
    def TARGETS(self) -> tuple[Target, ...]: ...  # noqa: N802 - likewise

    @property
    def project(self) -> Callable[[Recorded], Iterator[Statement]]: ...


@dataclass(frozen=True, slots=True)
class Projection:
    """One read model."""

    name: str
    version: int
    """Contract of the rows: one more whenever the same events would give other rows."""
    tables: tuple[str, ...]
    targets: tuple[Target, ...]
    """In the order in which a batch is written."""
    ddl: str
    indexes: str
    project: Callable[[Recorded], Iterable[Statement]]

    async def create(self, conn: Conn) -> None:
        """Create the empty tables in the current schema, each tenant's rows for itself alone."""
        await conn.execute(self.ddl)
        for table in self.tables:
            await _protect(conn, table)

    async def index(self, conn: Conn) -> None:
        """Create the indexes that only readers need."""
        if self.indexes:
            await conn.execute(self.indexes)

    async def apply(self, conn: Conn, events: Iterable[Recorded]) -> None:
        """Write what the events, in log order, change; the transaction is the caller's."""
        project = self.project
        folded = fold(statement for event in events for statement in project(event))
        for target in self.targets:
            if (rows := folded.get(target)) is not None:
                await target.write(conn, rows.values())


def _of(module: _Module) -> Projection:
    return Projection(
        name=module.NAME,
        version=module.VERSION,
        tables=module.TABLES,
        targets=module.TARGETS,
        ddl=module.SQL["create"],
        indexes=module.SQL["index"],
        project=module.project,
    )


PROJECTIONS: Final = (
    _of(archive),
    _of(conversations),
    _of(runs),
    _of(memories),
    _of(agents),
    _of(dead_letters),
    _of(people),
    _of(persistence),
    _of(activity),
    _of(passages),
    _of(tasks),
    _of(goals),
    _of(jobs),
)
BY_NAME: Final = {projection.name: projection for projection in PROJECTIONS}


async def _protect(conn: Conn, table: str) -> None:
    """Let the owner write every tenant's rows, and readers see those of the tenant they set."""
    name = sql.Identifier(table)
    await conn.execute(
        sql.SQL(
            """
            ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
            ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
            CREATE POLICY owner ON {table} TO CURRENT_USER USING (true) WITH CHECK (true);
            CREATE POLICY reader ON {table} FOR SELECT TO {reader}
                USING (tenant = current_setting('penstock.tenant', true));
            GRANT SELECT ON {table} TO {reader};
            """
        ).format(table=name, reader=sql.Identifier(READER))
    )


async def _positions(conn: Conn) -> None:
    await conn.execute(positions.SQL["create"])


def _tables(projection: Projection) -> Callable[[Conn], Awaitable[None]]:
    async def create(conn: Conn) -> None:
        await projection.create(conn)
        await projection.index(conn)
        await positions.start(conn, projection.name, projection.version)

    return create


async def _search(conn: Conn) -> None:
    await conn.execute(memories.SEARCH)
    await conn.execute(
        sql.SQL("GRANT EXECUTE ON FUNCTION memory_search TO {}").format(sql.Identifier(READER))
    )


async def _vectors(conn: Conn) -> None:
    await conn.execute(vectors.SQL["create"])
    await _protect(conn, "vectors")


async def _passage_vectors(conn: Conn) -> None:
    await conn.execute(passage_vectors.SQL["create"])
    await _protect(conn, passage_vectors.TABLE)


async def _passage_parts(conn: Conn) -> None:
    await conn.execute(passage_vectors.SQL["create_parts"])
    await _protect(conn, passage_vectors.TABLE)


async def _passage_search(conn: Conn) -> None:
    """Create what `passages.search` calls; it finds the tables by name, also after a rebuild."""
    await conn.execute(SEARCH)
    await conn.execute(
        sql.SQL("GRANT EXECUTE ON FUNCTION passage_search TO {}").format(sql.Identifier(READER))
    )


MIGRATIONS: Final[Sequence[tuple[str, Callable[[Conn], Awaitable[None]]]]] = (
    ("positions", _positions),
    *((f"projection {projection.name}", _tables(projection)) for projection in PROJECTIONS),
    # a function can be replaced, so its name here follows from what it says
    (f"memory search {sha256(memories.SEARCH.encode()).hexdigest()[:12]}", _search),
    (f"passage search {sha256(SEARCH.encode()).hexdigest()[:12]}", _passage_search),
)
"""What a database needs, by a name that is for ever, in order; each is applied once."""

VECTOR_MIGRATIONS: Final[Sequence[tuple[str, Callable[[Conn], Awaitable[None]]]]] = (
    ("vectors", _vectors),
    ("passage vectors", _passage_vectors),
    ("passage parts", _passage_parts),
)
"""The same for vectors; apart, because a server without pgvector serves everything else."""


async def _memories(conn: Conn) -> None:
    await BY_NAME[memories.NAME].create(conn)
    await BY_NAME[memories.NAME].index(conn)


TRIAL: Final = (_memories, _vectors, _passage_vectors, _search)
"""What a search of memories needs, in the current schema."""
