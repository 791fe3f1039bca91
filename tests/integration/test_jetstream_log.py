"""The log on JetStream keeps the promises of the port, on a real server."""

import pytest

from services.runtime.jetstream import reading
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.jetstream.reading import Reader
from tests.contracts.event_log import EventLogContract, a_subject, message, texts

pytestmark = pytest.mark.integration


class TestJetStreamLog(EventLogContract):
    @pytest.fixture
    async def log(self, nats_url):
        connection = await Connection.open(nats_url)
        log = JetStreamLog(connection)
        await log.create()
        yield log
        await connection.close()

    async def test_no_more_is_fetched_than_there_can_be_up_to_the_end(self, log, monkeypatch):
        fetched = []
        page = Reader._try_page

        async def counted(reader, *asked):
            found = await page(reader, *asked)
            fetched.append(len(found.messages))
            return found

        monkeypatch.setattr(Reader, "_try_page", counted)
        subject = a_subject()
        seqs = [await log.append(subject, message(str(n))) for n in range(20)]
        for fresh in (True, False):
            one = log.read(subject, after=seqs[4], until=seqs[5], fresh=fresh)
            assert await texts(one) == ["5"]
        assert max(fetched) <= seqs[5] - seqs[4]
        monkeypatch.setattr(reading, "BATCH", 3)  # pages and an end that is on none's border
        for fresh in (True, False):
            some = log.read(subject, after=seqs[4], until=seqs[15], fresh=fresh)
            assert await texts(some) == [str(n) for n in range(5, 16)]
        assert await texts(log.read(subject, fresh=True)) == [str(n) for n in range(20)]
