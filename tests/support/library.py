"""Documents in unit tests: a log, and processes that take documents in and read them."""

from schemas.ingest import DocumentReceived
from services.ingest.reading import read
from services.ingest.service import Ingestion
from services.runtime.agents import Agents
from services.runtime.documents import DocumentLog, Documents
from services.runtime.event_log import Delivery
from services.runtime.writer import Writer
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog

SENTENCE = "The release number {} goes out on a Friday unless somebody objects in time. "
TEXT = "\n\n".join(SENTENCE.format(number) * 10 for number in range(300))
ANA = "person:ana"


class InProcess:
    """Reads documents here, and lets a test look on."""

    def __init__(self) -> None:
        self.read_names = []
        self.meanwhile = None

    async def read(self, name, content):
        self.read_names.append(name)
        if self.meanwhile is not None:
            hook, self.meanwhile = self.meanwhile, None
            await hook()
        return read(name, content)

    async def close(self):
        return None


class Library:
    """A log, and any number of processes that take documents in and read them."""

    def __init__(self) -> None:
        self.log, self.bodies = FakeLog(), FakeBodies()
        self.reader = InProcess()

    @property
    def writer(self):
        return Writer(self.log, FakeClock(), "test")

    def documents(self, most_bytes=10**6):
        known = DocumentLog(self.log)
        return Documents(self.writer, self.bodies, Agents(self.log), known, most_bytes)

    def ingestion(self):
        """Return a new process, which knows nothing of what another has done."""
        return Ingestion(self.writer, self.bodies, DocumentLog(self.log), self.reader)

    async def take(self, name="a.md", text=TEXT):
        return await self.documents().take(
            "acme", "atlas", name, text.encode(), media_type="text/markdown", by=ANA
        )

    def events(self, *kinds):
        told = [recorded.event for recorded in self.log.events[1:]]
        return [event for event in told if isinstance(event, kinds or object)]

    def deliveries(self):
        received = [r for r in self.log.events if isinstance(r.event, DocumentReceived)]
        return [Delivery(recorded, 1) for recorded in received]

    def newest(self):
        return self.deliveries()[-1]
