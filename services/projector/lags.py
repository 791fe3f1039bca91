"""How far behind those are who read the log, for the metrics."""

from typing import Final

import structlog
from psycopg.errors import UndefinedTable

from services.errors import ServiceError
from services.projector.service import Projector
from services.runtime.clock import Clock
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.consumers import lags
from services.runtime.jetstream.log import STREAM
from services.runtime.telemetry import names
from services.runtime.telemetry.live import Recorder

EVERY_S: Final = 15.0

log = structlog.get_logger()


class Lags:
    """Looks every so often; every replica tells what it sees, which is the same."""

    def __init__(
        self, connection: Connection, projector: Projector, recorder: Recorder, clock: Clock
    ) -> None:
        self._connection = connection
        self._projector = projector
        self._recorder = recorder
        self._clock = clock

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(EVERY_S)

    async def look(self) -> None:
        """Look once; what cannot be known now is not told."""
        try:
            consumers = await lags(self._connection, STREAM)
            self._recorder.observe(names.CONSUMER_LAG, names.CONSUMER_GROUP, consumers)
            projections = await self._projector.lag()
            self._recorder.observe(names.PROJECTION_LAG, names.PROJECTION, projections)
        except (ServiceError, UndefinedTable) as error:  # before the first migration
            log.info("lags.unknown", reason=str(error))
