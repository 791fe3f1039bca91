"""`penstock run`: services in this process, on servers that are there."""

import msgspec

from services.cli.exits import OK
from services.cli.options import Options
from services.runtime import instance, logs, main
from services.runtime.config import Config
from services.runtime.secret import Secret


class Run(Options):
    """Arguments of `run`."""

    names: list[str]


def run(options: Run) -> int:
    """Run services until a signal."""
    names = list(dict.fromkeys(options.names))
    config = _with_local_servers(options.settings())
    logs.configure(
        service="+".join(names),
        format="json" if options.json else config.log.format,
        level="debug" if options.verbose else config.log.level,
    )
    main.run(main.run_services(config, names))
    return OK


def _with_local_servers(config: Config) -> Config:
    """Name the servers of `penstock infra` in the data directory where nothing else is said."""
    running = instance.find(config.data_dir)
    if running is None:
        return config
    return msgspec.structs.replace(
        config,
        nats_url=config.nats_url or Secret(running.nats_url),
        database_url=config.database_url or Secret(running.database_url),
    )
