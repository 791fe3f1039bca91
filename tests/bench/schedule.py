"""Ten thousand jobs on one scheduler, and `why` over a month of one that is due every minute."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

from projections.registry import BY_NAME, MIGRATIONS
from schemas.base import Event, EventId, RunId
from schemas.channel import TurnStarted
from schemas.envelope import encode, seal
from schemas.schedule import JobDefined, OccurrenceEnded, OccurrenceFired, Schedule
from schemas.subjects import Subject, matching
from services.api.explaining import Explaining
from services.projector.applying import Member
from services.runtime import ids
from services.runtime.cancelling import end
from services.runtime.clock import SystemClock
from services.runtime.database import Pool, connect, migrate, using
from services.runtime.event_log import Recorded
from services.runtime.jetstream.connection import Connection
from services.runtime.jetstream.log import JetStreamLog
from services.runtime.recording import record
from tests.bench import stand
from tests.bench.figures import Figure, percentile

JOBS = 10_000
SECOND = 1_000_000
PERIOD_S = 3_600  # of each job: so 2.8 of them are due a second, which is what rest is here
BURST = 1_000  # jobs that are due in the same instant
MINUTES = 30 * 24 * 60
QUIET_S = 10.0  # for the processes to come to rest
WATCHED_S = 30.0
TICKS = 100  # of the kernel's clock in /proc, a second


async def run() -> list[Figure]:
    """Measure both."""
    with stand.directory() as data_dir:
        figures = await _scheduler(data_dir)
    with stand.directory() as data_dir:
        return [*figures, await _why(data_dir)]


async def _scheduler(data_dir: Path) -> list[Figure]:
    """Watch a scheduler's processor time and how late it records."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        variables = stand.environment(data_dir)
        infra = stand.running("-m", "services.cli", "infra", "--json", variables=variables)
        await stand.line_of(await stack.enter_async_context(infra))
        connection = await Connection.open(stand.urls_of(data_dir).nats, name="bench")
        stack.push_async_callback(connection.close)
        log = JetStreamLog(connection)
        await log.create()
        now = clock.now()
        burst_at = now + round((QUIET_S + WATCHED_S + 60) * SECOND)
        step = PERIOD_S * SECOND // JOBS
        defined = [_defined(now, anchor_at=now - number * step) for number in range(JOBS)]
        defined += [_defined(now, once_at=burst_at) for _ in range(BURST)]
        for number, event in enumerate(defined):
            place = str(_place(f"j{number}"))
            await connection.client.publish(place, _body(event, now))
            if number % 500 == 0:
                await connection.client.flush(30)
        await connection.client.flush(30)
        late: list[tuple[int, float]] = []
        watching = asyncio.create_task(_watch(log, clock, late))
        stack.push_async_callback(end, watching)
        arguments = ("-m", "services.cli", "run", "scheduler", "--json")
        process = await stack.enter_async_context(stand.running(*arguments, variables=variables))
        while "services.started" not in await stand.line_of(process):
            pass
        await asyncio.sleep(QUIET_S)
        since, used = clock.now(), _processor_s(process.pid)
        await asyncio.sleep(WATCHED_S)
        until, share = clock.now(), (_processor_s(process.pid) - used) / WATCHED_S
        await asyncio.sleep(max(0.0, (burst_at - clock.now()) / SECOND) + 10)
    rest = [ms for due, ms in late if since < due <= until]
    burst = [ms for due, ms in late if due == burst_at]
    assert len(rest) > 50, f"only {len(rest)} occurrences at rest"
    assert len(burst) == BURST, f"only {len(burst)} of the burst"
    return [
        Figure(
            name=f"processor, {JOBS:,} jobs at rest",
            value=100 * share,
            unit="% of a core",
            at_most=10,
            note=f"{len(rest)} due in {WATCHED_S:g} s",
        ),
        Figure(
            name="due to seen in the log, p99", value=percentile(rest, 99), unit="ms", at_most=1_000
        ),
        Figure(
            name=f"due to seen in the log, the last of {BURST:,} at once",
            value=max(burst),
            unit="ms",
            at_most=1_000,
        ),
    ]


def _defined(now: int, *, anchor_at: int | None = None, once_at: int | None = None) -> JobDefined:
    every_s = PERIOD_S if once_at is None else None
    schedule = Schedule(every_s=every_s, anchor_at=anchor_at, once_at=once_at)
    return JobDefined(schedule=schedule, prompt="look", effective_at=now, overlap="allow")


def _place(job: str) -> Subject:
    return Subject("bench", "main", "cron", job)


def _body(event: Event, at: int, id_: EventId | None = None) -> bytes:
    return encode(seal(event, id=id_ or ids.event_id(), at=at, actor="bench"))


async def _watch(log: JetStreamLog, clock: SystemClock, late: list[tuple[int, float]]) -> None:
    """Note when each occurrence was due, and how many milliseconds later it is in the log."""
    async for recorded in log.tail(matching("bench", adapter="cron")):
        if isinstance(recorded.event, OccurrenceFired):
            due = recorded.event.due_at
            late.append((due, (clock.now() - due) / 1_000))


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def _why(data_dir: Path) -> Figure:
    """Ask why about every minute of a month, most of them in the read model."""
    async with AsyncExitStack() as stack:
        variables = stand.environment(data_dir)
        infra = stand.running("-m", "services.cli", "infra", "--json", variables=variables)
        await stand.line_of(await stack.enter_async_context(infra))
        urls = stand.urls_of(data_dir)
        connection = await Connection.open(urls.nats, name="bench")
        stack.push_async_callback(connection.close)
        log = JetStreamLog(connection)
        await log.create()
        pool = await connect(urls.database)
        stack.push_async_callback(pool.close)
        await migrate(pool, MIGRATIONS)
        now = SystemClock().now() // (60 * SECOND) * (60 * SECOND)
        begin = now - MINUTES * 60 * SECOND
        await _project(pool, _month(begin))
        explaining = Explaining(log, pool, "bench")
        times = []
        for _ in range(7):
            started = perf_counter()
            answer = await explaining.job("main", "minutely", after=begin, until=now, now=now)
            times.append((perf_counter() - started) * 1_000)
            assert len(answer.lines) == MINUTES
            assert answer.complete
    return Figure(
        name="why, a month of a minutely job",
        value=median(times),
        unit="ms",
        at_most=300,
        note=f"{MINUTES:,} occurrences",
    )


def _month(begin: int) -> list[Recorded]:
    schedule = Schedule(every_s=60, anchor_at=begin)
    events: list[tuple[Event, int, str]] = [
        (JobDefined(schedule=schedule, prompt="look", effective_at=begin), begin, "defined")
    ]
    for minute in range(1, MINUTES + 1):
        due, id_ = begin + minute * 60 * SECOND, EventId(f"fired-{minute}")
        started = TurnStarted(turn_id=RunId(f"t{minute}"), owner="bench", occurrence=id_)
        ended = OccurrenceEnded(occurrence=id_, outcome="succeeded")
        events += [
            (OccurrenceFired(due_at=due), due + 20_000, id_),
            (started, due + 25_000, f"started-{minute}"),
            (ended, due + 2 * SECOND, f"ended-{minute}"),
        ]
    place = str(_place("minutely"))
    return [
        record(seq, place, _body(event, at, EventId(id_)))
        for seq, (event, at, id_) in enumerate(events, start=1)
    ]


async def _project(pool: Pool, events: list[Recorded]) -> None:
    projection = BY_NAME["jobs"]
    member = Member(projection, 0)
    for begin in range(0, len(events), 5_000):
        async with using(pool) as conn:
            await projection.apply(conn, events[begin : begin + 5_000])
    async with using(pool) as conn:
        await member.move(conn, events[-1].seq)
        await conn.execute("ANALYZE occurrences")
