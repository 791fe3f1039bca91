"""`penstock infra`: the embedded servers alone, for services in processes of their own."""

import asyncio
import shlex
import signal
import sys

from services.cli import output
from services.cli.exits import OK
from services.cli.options import Options
from services.cli.singleton import refuse_second
from services.errors import InvalidConfiguration
from services.runtime import instance, logs
from services.runtime.clock import SystemClock
from services.runtime.config import Config
from services.runtime.embedded.servers import Servers


async def infra(options: Options) -> int:
    """Start both servers, print where they are, and stay until a signal."""
    config = options.settings()
    if config.nats_url and config.database_url:
        raise InvalidConfiguration(
            ["nats_url and database_url name other servers: there is nothing to start here"]
        )
    refuse_second(config)
    level = config.log.level if options.verbose else "warning"
    logs.configure(service="infra", level=level, stream=sys.stderr)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await _serve(config, stopping, as_json=options.json)
    return OK


async def _serve(config: Config, stopping: asyncio.Event, *, as_json: bool) -> None:
    async with Servers(config) as urls:
        running = instance.here(
            started_at=SystemClock().now(), nats_url=urls.nats, database_url=urls.database
        )
        with instance.announced(config.data_dir, running):
            if as_json:
                output.line({"nats_url": urls.nats, "database_url": urls.database})
            else:
                print(f"export PENSTOCK_NATS_URL={shlex.quote(urls.nats)}")
                print(f"export PENSTOCK_DATABASE_URL={shlex.quote(urls.database)}", flush=True)
                sys.stderr.write(
                    f"NATS and PostgreSQL run in {config.data_dir}; Ctrl-C stops them.\n"
                )
            await stopping.wait()
