"""Appends to a real log, as a collector is told of them over a real socket."""

import pytest

from services.errors import Conflict
from services.runtime.config import TelemetrySettings
from services.runtime.event_log import Append
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.telemetry import names
from services.runtime.telemetry.provider import provided
from services.runtime.writer import Writer
from tests.support import otlp
from tests.support.builders import CONVERSATION, message
from tests.support.fake_clock import FakeClock
from tests.support.otlp import collector

pytestmark = pytest.mark.integration

OTHER = CONVERSATION._replace(conversation="other")
MEMORY = CONVERSATION._replace(adapter=None, conversation=None, entity="memory")


def points(found, name, *, failed=False):
    """Return sums and counts by the template of the destination; the newest that came of each."""
    return {
        it.attributes.get(names.DESTINATION_TEMPLATE, "several").split(".")[-2:][0]: (
            it.value if name == names.SENT_MESSAGES else it.count
        )
        for it in found.points
        if it.name == name and (names.ERROR in it.attributes) == failed
    }


async def test_a_batch_is_one_operation_of_as_many_messages_as_it_has(empty_nats_url, monkeypatch):
    connection = await Connection.open(empty_nats_url)
    log, clock = JetStreamLog(connection), FakeClock()
    writer = Writer(log, clock, "test")
    await log.create()

    def append(subject, text, expected=None) -> Append:
        return Append(str(subject), writer.seal(message(text, message_id=text)), expected)

    with collector() as found:
        environ = otlp.variables(found.url)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        async with provided(environ, TelemetrySettings(), clock, instance="i"):
            await log.append(str(CONVERSATION), append(CONVERSATION, "one").envelope)
            await log.append_batch([append(CONVERSATION, "two"), append(OTHER, "three", 0)])
            await log.append_batch([append(MEMORY, "four"), append(OTHER, "five")])
            with pytest.raises(Conflict):
                await log.append_batch([append(CONVERSATION, "six", 0), append(OTHER, "seven")])
    await connection.close()
    assert points(found, names.SENT_MESSAGES) == {"channel": 4, "memory": 1}
    assert points(found, names.SENT_DURATION) == {"channel": 2, "several": 1}
    assert points(found, names.SENT_MESSAGES, failed=True) == {"channel": 2}
    assert points(found, names.SENT_DURATION, failed=True) == {"channel": 1}
