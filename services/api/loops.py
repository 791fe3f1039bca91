"""How the api service is put together."""

import socket
from collections.abc import Mapping

import structlog

from services.api.app import create_app
from services.api.options import ApiOptions
from services.api.server import listen, serve
from services.runtime.process import Process
from services.runtime.supervisor import Loop

log = structlog.get_logger()


def build(process: Process, options: ApiOptions | None = None) -> Mapping[str, Loop]:
    """Return the loops of this service; it listens from now on and answers when they run.

    Args:
        process: Whose configuration says where.
        options: How it is opened. None: to whoever has the token.

    Raises:
        CannotListen: the port is taken, or not ours to take.
    """
    config = process.config
    app = create_app(process, options or ApiOptions())
    first: list[socket.socket] = [listen(config.host, config.port)]

    log.info("api.listening", host=config.host, port=config.port)

    async def run() -> None:
        listener = first.pop() if first else listen(config.host, config.port)
        await serve(app, listener, process.stopping)

    return {"api": run}
