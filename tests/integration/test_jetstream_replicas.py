"""Everything that is kept in JetStream is kept as often as the configuration says now."""

import asyncio

import msgspec
import pytest

from services.runtime.cancelling import end
from services.runtime.clock import SystemClock
from services.runtime.jetstream.bodies import JetStreamBodies
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.cooldowns import SharedCooldowns
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.jetstream.snapshots import JetStreamSnapshots
from tests.support.servers import until

pytestmark = pytest.mark.integration


async def test_more_copies_are_made_when_that_is_configured_later(nats_cluster):
    cluster = await nats_cluster(3)
    connection = await Connection.open(cluster.url)
    ref = None

    async def copies():
        subject = "$JS.API.STREAM.LIST"
        listed = await connection.insist(lambda: connection.request(subject, b""))
        streams = msgspec.json.decode(listed.data)["streams"]
        return {each["config"]["name"]: each["config"]["num_replicas"] for each in streams}

    for replicas in (1, 3):
        bodies = JetStreamBodies(connection)
        await JetStreamLog(connection).create(replicas=replicas)
        await bodies.create(replicas=replicas)
        await JetStreamSnapshots(connection).create(replicas=replicas)
        shared = SharedCooldowns(connection, SystemClock())
        following = asyncio.create_task(shared.follow(replicas=replicas))

        async def all_have(replicas=replicas):
            found = await copies()
            return len(found) == 4 and set(found.values()) == {replicas}

        await until(all_have, timeout_s=30)
        await end(following)
        ref = ref or await bodies.put(b"a long text")
        assert await bodies.get(ref) == b"a long text"
    await connection.close()
