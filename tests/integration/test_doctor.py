"""The doctor says what the database user still needs, before a service does."""

from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg import sql

from services.cli.checks.servers import servers
from services.cli.exits import NotRunning
from services.runtime import ids
from services.runtime.config import Config
from services.runtime.database import connect

pytestmark = pytest.mark.integration


class Here:
    """An installation with a database and nothing else."""

    config = Config()

    def __init__(self, url):
        self.database_url = url

    @property
    def nats_url(self):
        raise NotRunning("no NATS here")

    @asynccontextmanager
    async def pool(self):
        pool = await connect(self.database_url, most=1)
        yield pool
        await pool.close()


async def rights(url):
    findings = {finding.name: finding async for finding in servers(Here(url))}
    return findings["postgres rights"]


@pytest.fixture
async def somebody(database_url):
    """A user who may log in, and what an administrator can do about it."""
    name = f"somebody_{ids.new()[-12:]}"
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:

        async def run(text):
            await admin.execute(sql.SQL(text).format(user=sql.Identifier(name)))

        await run("CREATE ROLE {user} LOGIN PASSWORD 'p'")
        host = database_url.rpartition("@")[2]
        yield f"postgresql://{name}:p@{host}", run
        await run("REASSIGN OWNED BY {user} TO CURRENT_USER")
        await run("DROP OWNED BY {user}")
        await run("DROP ROLE {user}")


async def test_whoever_may_do_everything_lacks_nothing(database_url):
    assert (await rights(database_url)).level == "ok"


async def test_a_user_who_may_only_log_in_is_told_what_to_ask_for(somebody, database_url):
    url, run = somebody
    found = await rights(url)
    assert found.level == "fail"
    assert "CREATE ROLE penstock_reader NOLOGIN" in found.fix
    for command in found.fix.partition(": ")[2].rstrip(";").split("; "):
        try:
            await run(command.replace("{", "{{"))
        except psycopg.errors.DuplicateObject:
            assert command == "CREATE ROLE penstock_reader NOLOGIN"  # of another test's database
    assert (await rights(url)).level == "ok"
