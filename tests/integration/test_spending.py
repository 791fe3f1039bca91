"""Reservations on a real log keep the promises of the contract."""

import pytest

from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from tests.contracts.spending import SpendingContract

pytestmark = pytest.mark.integration


class TestSpendingOnJetStream(SpendingContract):
    @pytest.fixture
    async def log(self, nats_url):
        connection = await Connection.open(nats_url)
        log = JetStreamLog(connection)
        await log.create()
        yield log
        await connection.close()
