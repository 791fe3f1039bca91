"""The log on JetStream keeps the promises of the port, on a real server."""

import pytest

from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from tests.contracts.event_log import EventLogContract

pytestmark = pytest.mark.integration


class TestJetStreamLog(EventLogContract):
    @pytest.fixture
    async def log(self, nats_url):
        connection = await Connection.open(nats_url)
        log = JetStreamLog(connection)
        await log.create()
        yield log
        await connection.close()
