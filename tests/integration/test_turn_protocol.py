"""Turns hold against what hypothesis can think of, on a real JetStream."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from tests.contracts.turn_protocol import TurnProtocol

pytestmark = pytest.mark.integration


def test_turns_hold_whatever_happens(nats_url):
    class OnJetStream(TurnProtocol):
        pause_s = 0.001
        looks_often = False

        async def open_log(self):
            self.connection = await Connection.open(nats_url)
            log = JetStreamLog(self.connection)
            await log.create()
            return log

        async def close_log(self):
            await self.connection.close()

    run_state_machine_as_test(
        OnJetStream,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
