"""The servers: are they there, which are they, do they keep what they acknowledge."""

from collections.abc import AsyncIterator
from typing import Final

from services.cli.checks.finding import Finding, fail, ok, warn
from services.cli.exits import NotRunning
from services.cli.installation import Installation, address, nats_version
from services.errors import ServiceError, Transient
from services.runtime.database import READER, Conn, using

OLDEST_NATS = (2, 12, 0)  # atomic batches
OLDEST_POSTGRES = 150_000
_RIGHTS: Final = """
SELECT rolname, current_database(),
       has_database_privilege(current_database(), 'CREATE')
       AND coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
       rolsuper OR rolcreaterole OR EXISTS (
           SELECT FROM pg_roles AS reader
           WHERE reader.rolname = %(reader)s AND pg_has_role(current_user, reader.oid, 'MEMBER'))
FROM pg_roles WHERE rolname = current_user
"""


async def servers(here: Installation) -> AsyncIterator[Finding]:
    """Yield what there is to say about NATS and Postgres."""
    yield await _nats(here)
    yield _sync(here)
    async for finding in _postgres(here):
        yield finding


async def _nats(here: Installation) -> Finding:
    try:
        url = here.nats_url
    except NotRunning:
        return ok("nats", "embedded, does not run now; `penstock up` starts it")
    try:
        async with here.connection() as connection:
            version = nats_version(connection)
            found = f"{'.'.join(map(str, version))} at {address(url)}"
            if version < OLDEST_NATS:
                return fail("nats", found, "Use NATS 2.12 or later: it appends batches at once.")
            await connection.ask("$JS.API.INFO", b"")
    except Transient as error:
        return fail("nats", f"no JetStream: {error}", "Start nats-server with `jetstream` enabled.")
    except ServiceError as error:
        fix = "Start it, or correct PENSTOCK_NATS_URL."
        return fail("nats", f"{address(url)}: {error}", fix)
    return ok("nats", found)


def _sync(here: Installation) -> Finding:
    name = "log durability"
    if here.config.nats_url is not None:
        return warn(
            name,
            "an external NATS does not tell how often it forces writes to disk",
            "Make sure that its configuration has `jetstream { sync_interval: always }`.",
        )
    sync = here.config.log.sync
    if sync == "always":
        return ok(name, "every event is on disk before it is acknowledged")
    text = f"log.sync is {sync}: a power cut may lose what was just acknowledged"
    return warn(name, text, "Set log.sync to `always`, unless the disk is too slow for it.")


async def _postgres(here: Installation) -> AsyncIterator[Finding]:
    try:
        url = here.database_url
    except NotRunning:
        yield ok("postgres server", "embedded, does not run now; `penstock up` starts it")
        return
    try:
        async with here.pool() as pool, using(pool) as conn:
            cursor = await conn.execute(
                "SELECT current_setting('server_version_num')::int, "
                "current_setting('server_version'), "
                "EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')"
            )
            number, version, has_vector = await cursor.fetchone() or (0, "?", False)
            rights = await _rights(conn)
    except ServiceError as error:
        fix = "Start it, or correct PENSTOCK_DATABASE_URL."
        yield fail("postgres server", f"{address(url)}: {error}", fix)
        return
    found = f"{version} at {address(url)}"
    if number < OLDEST_POSTGRES:
        yield fail("postgres server", found, "Use PostgreSQL 15 or later.")
    else:
        yield ok("postgres server", found)
    yield rights
    if has_vector:
        yield ok("pgvector", "available")
    else:
        yield warn("pgvector", "not installed", "Install the extension `vector` on that server.")


async def _rights(conn: Conn) -> Finding:
    """Return whether we may make the tables, build them aside, and read as a tenant's reader."""
    cursor = await conn.execute(_RIGHTS, {"reader": READER})
    user, database, may_create, may_read = await cursor.fetchone() or ("?", "?", False, False)
    if may_create and may_read:
        return ok("postgres rights", f"{user} has what it needs")
    wanted = []
    if not may_read:
        wanted += [f"CREATE ROLE {READER} NOLOGIN", f'GRANT {READER} TO "{user}"']
    if not may_create:
        wanted.append(f'ALTER DATABASE "{database}" OWNER TO "{user}"')
    fix = f"As an administrator, run: {'; '.join(wanted)};"
    return fail("postgres rights", f"{user} may not make what Penstock needs", fix)
