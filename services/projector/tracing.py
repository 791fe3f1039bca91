"""Read spans and metrics off the log and send them to where the environment says.

Consumes:  everything, in order, from the end of the log when it is first asked for
Emits:     nothing on the log; spans and measurements over OTLP
Never:     tells a span before the log has it, or forgets one because a collector was away

One replica leads, as it does with the read models. Where it stands is kept in a snapshot after the
spans up to there were taken, so another one goes on from there; what it tells twice has the same
ids. Lost, the snapshot costs the spans since then, and no more.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import msgspec
import psycopg
import structlog

from services.errors import Transient
from services.projector.feed import batched
from services.runtime.bodies import BodyStore
from services.runtime.clock import Clock
from services.runtime.config import TelemetrySettings
from services.runtime.conversations import Snapshots
from services.runtime.database import Conn, Pool, session
from services.runtime.event_log import EVERYTHING, EventLog, Recorded
from services.runtime.telemetry import words
from services.runtime.telemetry.fold import Spans
from services.runtime.telemetry.live import Recorder
from services.runtime.telemetry.quiet import Quiet
from services.runtime.telemetry.span import Span
from services.runtime.telemetry.state import State

KEY: Final = "telemetry.spans"  # of the snapshot: never rename
LEADER_LOCK: Final = 0x5452_4143  # key of the advisory lock: never change
STANDBY_S: Final = 2.0  # how often a replica looks whether it may lead
BATCH: Final = 500  # events; about as many spans go in one request
# Nobody waits for a span. Followed event by event, the log would come to us just while the turn
# goes on that it is about, and slow it down.
EVERY_S: Final = 2.0
AT_ONCE: Final = 20  # events between two looks at what else there is to do
BACKOFF_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # then every 30 s

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(State).decode

log = structlog.get_logger()


class Tracing:
    """Follows the log for those who watch an installation."""

    def __init__(  # noqa: PLR0913 - it stands between these
        self,
        event_log: EventLog,
        snapshots: Snapshots,
        bodies: BodyStore,
        *,
        pool: Pool,
        recorder: Recorder,
        settings: TelemetrySettings,
        clock: Clock,
    ) -> None:
        self._log = event_log
        self._snapshots = snapshots
        self._bodies = bodies
        self._pool = pool
        self._recorder = recorder
        self._settings = settings
        self._clock = clock

    async def run(self) -> None:
        """Tell spans until cancelled, through outages of the log, the database and collectors."""
        failures = 0
        while True:
            try:
                async with self._leading() as lead:
                    await self.follow(lead)
            except (Transient, psycopg.Error) as error:
                log.warning("tracing.waiting", reason=str(error))
                await self._clock.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
                failures += 1
            else:
                failures = 0

    @asynccontextmanager
    async def _leading(self) -> AsyncIterator[Conn]:
        """Wait until no other replica leads; the lead ends with the connection that holds it."""
        while True:
            async with session(self._pool) as conn:
                cursor = await conn.execute("SELECT pg_try_advisory_lock(%s)", (LEADER_LOCK,))
                if await cursor.fetchone() == (True,):
                    log.info("tracing.leading")
                    yield conn
                    return
            await self._clock.sleep(STANDBY_S)

    async def follow(self, lead: Conn) -> None:
        """Go on where the last one stopped, for as long as the connection with the lead lasts."""
        spans = Spans(await self._state(), words_of=self._recorder.words_of)
        while True:
            reading = self._log.read(EVERYTHING, after=spans.state.seq)
            async with aclosing(batched(reading, most=BATCH)) as batches:
                async for batch in batches:
                    await lead.execute("SELECT 1")  # with the connection went the lead
                    await self._tell(spans, batch)
            await asyncio.sleep(EVERY_S)

    async def _state(self) -> State:
        saved = await self._snapshots.load(KEY)
        end = await self._end()
        try:
            state = _DECODE(zlib.decompress(saved)) if saved is not None else State(seq=end)
        except (msgspec.DecodeError, zlib.error):  # of another version
            state = State(seq=end)
        return state if state.seq <= end else State(seq=end)  # of a log that was begun anew

    async def _end(self) -> int:
        newest = await self._log.last(EVERYTHING, fresh=True)
        return newest.seq if newest is not None else 0

    async def _tell(self, spans: Spans, batch: Sequence[Recorded]) -> None:
        told: list[Span] = []
        quiet = Quiet()
        for number, recorded in enumerate(batch):
            if number % AT_ONCE == 0:
                await quiet.moment()
            told += spans.take(recorded)
        now, patience = self._clock.now(), round(self._settings.patience_s * 1_000_000)
        ended = [span for span in told if now - patience <= span.end <= now + patience]
        if len(ended) < len(told):  # an import, or nobody was here for long
            log.info("tracing.of_another_time", spans=len(told) - len(ended))
        self._recorder.measure(ended)
        sampled = [span for span in ended if span.sampled]
        if sampled:
            await self._export([(span, await self._words(span)) for span in sampled])
        if told or len(batch) == BATCH:  # without a span, reading again costs as much as saving
            await self._snapshots.save(KEY, zlib.compress(_ENCODE(spans.state)))

    async def _words(self, span: Span) -> dict[str, str]:
        if not span.said:
            return {}
        return await words.told(span, self._bodies, self._settings.content_bytes)

    async def _export(self, spans: Sequence[tuple[Span, Mapping[str, str]]]) -> None:
        """Send spans until they are taken, or nobody has taken them for too long."""
        deadline = self._clock.monotonic() + self._settings.patience_s
        failures = 0
        while not await self._recorder.export(spans):
            if self._clock.monotonic() >= deadline:
                log.error("tracing.spans_dropped", spans=len(spans))
                return
            log.warning("tracing.not_taken", spans=len(spans))
            await self._clock.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1
