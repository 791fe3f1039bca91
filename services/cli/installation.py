"""Where the installation is that a command is about, and connections to it.

First the one that runs in the data directory, then the servers that the configuration names.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from services.cli.database import database_errors
from services.cli.exits import NotRunning
from services.cli.options import Options
from services.errors import LogUnavailable
from services.runtime import instance, logs
from services.runtime.config import Config
from services.runtime.database import Pool, connect
from services.runtime.instance import Instance
from services.runtime.jetstream.connection import Connection, JetStreamRefused
from services.runtime.jetstream.log import STREAM, JetStreamLog
from services.runtime.secret import Secret

CONNECT_S: Final = 4.0  # the client itself would try for ever


class Installation:
    """One installation, seen from a command.

    Raises:
        InvalidConfiguration: lists what is wrong with the configuration.
        Rejected: another user's installation runs in the data directory.
    """

    def __init__(self, options: Options) -> None:
        logs.configure(
            service="cli", level="warning" if options.verbose else "error", stream=sys.stderr
        )
        self.config: Config = options.settings()
        self.instance: Instance | None = instance.find(self.config.data_dir)

    @property
    def tenant(self) -> str:
        """Return the tenant that local commands belong to."""
        return self.config.tenant

    @property
    def nats_url(self) -> str:
        """Return where NATS is.

        Raises:
            NotRunning: nobody says where.
        """
        return self.instance.nats_url if self.instance else self._named(self.config.nats_url)

    @property
    def database_url(self) -> str:
        """Return where Postgres is.

        Raises:
            NotRunning: nobody says where.
        """
        if self.instance:
            return self.instance.database_url
        return self._named(self.config.database_url)

    def _named(self, url: Secret | None) -> str:
        if url is None:
            raise NotRunning(
                f"Penstock is not running in {self.config.data_dir}: start it with `make up` or "
                "`penstock up`, or set PENSTOCK_NATS_URL and PENSTOCK_DATABASE_URL"
            )
        return url.reveal()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection to NATS.

        Raises:
            NotRunning: it cannot be reached.
        """
        url = self.nats_url
        try:
            async with asyncio.timeout(CONNECT_S):
                connection = await Connection.open(url, name="penstock cli")
        except LogUnavailable as error:
            raise NotRunning(f"NATS cannot be reached: {error}") from error
        except TimeoutError:
            raise NotRunning(f"NATS does not answer at {address(url)}") from None
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def log(self) -> AsyncIterator[JetStreamLog]:
        """Lend the log, which has to be there.

        Raises:
            NotRunning: NATS cannot be reached, or no log is on it.
        """
        async with self.connection() as connection:
            await _exists(connection)
            yield JetStreamLog(connection)

    @asynccontextmanager
    async def pool(self) -> AsyncIterator[Pool]:
        """Lend connections to Postgres; whether it answers shows at the first use.

        Raises:
            DatabaseUnavailable: it is away.
            Rejected: it does not have, or not allow, what was asked of it.
        """
        pool = await connect(self.database_url, most=4)
        try:
            with database_errors():
                yield pool
        finally:
            await pool.close()


async def _exists(connection: Connection) -> None:
    try:
        await connection.ask(f"$JS.API.STREAM.INFO.{STREAM}", b"")
    except JetStreamRefused as error:
        raise NotRunning(
            "this NATS server has no event log yet: start the services with `penstock up` or "
            "`penstock run`"
        ) from error


def address(url: str) -> str:
    """Return host and port of one or several addresses, without credentials."""
    return ",".join(urlsplit(part).netloc.rpartition("@")[2] for part in url.split(","))


def nats_version(connection: Connection) -> tuple[int, int, int]:
    """Return the version of the server that we are connected to."""
    version = connection.client.connected_server_version
    return version.major, version.minor, version.patch
