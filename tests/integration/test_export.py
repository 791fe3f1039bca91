"""What is exported can be imported elsewhere: everything once, in order, or nothing at all."""

import asyncio
import json
from hashlib import sha256

import msgspec
import pytest
import zstandard

from schemas.base import BodyRef, EventId
from schemas.channel import MessageReceived, Person
from schemas.envelope import encode, seal
from schemas.run import ModelCalled
from schemas.subjects import Subject, matching
from services.errors import LogUnavailable
from services.projector import importing
from services.projector.exporting import export, references
from services.projector.importing import AlreadyImporting, ArchiveAhead, import_file
from services.projector.transfer import InvalidFile
from services.runtime.database import session
from services.runtime.event_log import EVERYTHING
from services.runtime.recording import record
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.read_models import StoredLog, project
from tests.support.stories import SHA, Story

pytestmark = pytest.mark.integration

GENERAL = Subject("acme", "atlas", "portal", "general")
ANA = Person(id="portal:ana", name="Ana")


@pytest.fixture
def bodies():
    return FakeBodies()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.ndjson.zst"


@pytest.fixture
def told():
    """A story whose events can all be read and are all different."""
    seen, events = set(), []
    for each in Story(61).tell(1_500):
        if each.envelope.type != "damaged" and each.envelope.id not in seen:
            seen.add(each.envelope.id)
            events.append(record(len(events) + 1, each.subject, each.body))
    return events


def content(events):
    return [(each.subject, msgspec.json.decode(each.body)) for each in events]


async def test_everything_comes_over_in_order(told, bodies, pool, path):
    manifest = await export(StoredLog(told), bodies, EVERYTHING, path)
    assert (manifest.events, manifest.damaged) == (len(told), 0)
    target = FakeLog()
    imported = await import_file(target, FakeBodies(), pool, path)
    assert (imported.appended, imported.known) == (len(told), 0)
    assert content(target.events) == content(told)


async def test_a_filter_selects_a_conversation_with_its_runs(told, bodies, path):
    pattern = matching("acme", "atlas", "portal", "general")
    manifest = await export(StoredLog(told), bodies, pattern, path)
    lines = _lines(path)
    assert manifest.filter == pattern
    assert manifest.events == len(lines) - 1
    prefix = str(GENERAL).removesuffix("channel._")
    assert {line["subject"].startswith(prefix) for line in lines[1:]} == {True}
    assert len({line["subject"].rsplit(".")[5] for line in lines[1:]}) > 2


async def test_the_file_is_lines_of_plain_json(bodies, path):
    event = MessageReceived(message_id="p", author=ANA, text="hello")
    envelope = seal(event, id=EventId("e1"), at=7, actor="test")
    spaced = json.dumps(json.loads(encode(envelope)), indent=2).encode()
    log = StoredLog([record(1, str(GENERAL), spaced)])
    await export(log, bodies, EVERYTHING, path)
    manifest, line = _lines(path)
    assert (manifest["penstock"], manifest["filter"], manifest["events"]) == (1, "evt.>", 1)
    assert (line["seq"], line["subject"]) == (1, str(GENERAL))
    assert line["event"]["data"]["text"] == "hello"


async def test_bodies_come_before_the_events_that_name_them(bodies, pool, path):
    text = await bodies.put(b"a long text")
    prompt = await bodies.put(b"the system prompt")
    tools = await bodies.put(b"[]", media_type="application/json")
    message = MessageReceived(message_id="p", author=ANA, text=text)
    called = ModelCalled(
        run_id="t", step=1, model="m", prompt=prompt.sha256, tools=tools.sha256, request=SHA
    )
    log = FakeLog()
    for number, event in enumerate((message, called, message)):
        await log.append(str(GENERAL), seal(event, id=EventId(f"e{number}"), at=1, actor="x"))
    manifest = await export(log, bodies, EVERYTHING, path)
    assert (manifest.events, manifest.bodies, manifest.missing) == (3, 3, 0)
    target = FakeBodies()
    await import_file(FakeLog(), target, pool, path)
    assert target.bodies == bodies.bodies


async def test_a_body_that_is_lost_is_counted_and_stops_nothing(bodies, path):
    message = MessageReceived(message_id="p", author=ANA, text=BodyRef(sha256=SHA, bytes=3))
    log = FakeLog()
    await log.append(str(GENERAL), seal(message, id=EventId("e1"), at=1, actor="x"))
    manifest = await export(log, bodies, EVERYTHING, path)
    assert (manifest.events, manifest.bodies, manifest.missing) == (1, 0, 1)


async def test_damaged_events_are_counted_and_left_out(bodies, path):
    events = Story(62).tell(3_000)
    damaged = sum(each.envelope.type == "damaged" for each in events)
    assert damaged
    manifest = await export(StoredLog(events), bodies, EVERYTHING, path)
    assert (manifest.events, manifest.damaged) == (len(events) - damaged, damaged)


def test_references_are_found_in_events_of_tomorrow():
    ref = {"sha256": SHA, "bytes": 4, "media_type": "image/png"}
    data = {"deep": [{"er": ref}], "sha256": "not one"}
    body = {"id": "e", "type": "seen_tomorrow", "at": 1, "actor": "x", "data": data}
    recorded = record(1, str(GENERAL), msgspec.json.encode(body))
    assert list(references(recorded)) == [BodyRef(sha256=SHA, bytes=4, media_type="image/png")]


@pytest.mark.parametrize("archived", [0, 700, 1_000], ids=["log", "both", "archive"])
async def test_importing_again_changes_nothing(told, bodies, pool, path, archived):
    """Whether the events are in the archive already, or in the log alone."""
    await export(StoredLog(told), bodies, EVERYTHING, path)
    log = StoredLog(told[:1_000])
    await project(pool, told[:archived])
    imported = await import_file(log, bodies, pool, path)
    assert (imported.appended, imported.known) == (len(told) - 1_000, 1_000)
    assert content(log.events) == content(told)
    assert (await import_file(log, bodies, pool, path)).appended == 0
    assert len(log.events) == len(told)


@pytest.mark.parametrize("left", [0, 900], ids=["all", "its_end"])
async def test_what_the_log_lost_and_the_archive_has_is_not_taken_for_known(
    told, bodies, pool, path, left
):
    """Whoever imports a backup into a log that was lost would be told that all is there."""
    await export(StoredLog(told), bodies, EVERYTHING, path)
    await project(pool, told[:1_000])
    log = StoredLog(told[:left])
    with pytest.raises(ArchiveAhead, match="verify --repair log"):
        await import_file(log, bodies, pool, path)
    assert len(log.events) == left


async def test_a_log_that_was_begun_anew_is_not_taken_for_the_one_that_is_archived(
    told, bodies, pool, path
):
    await export(StoredLog(told[:100]), bodies, EVERYTHING, path)
    await project(pool, told[:100])
    others = [record(n, each.subject, each.body) for n, each in enumerate(told[500:700], start=1)]
    with pytest.raises(ArchiveAhead):
        await import_file(StoredLog(others), bodies, pool, path)


async def test_an_import_that_was_cut_short_is_finished_by_the_next(told, bodies, pool, path):
    await export(StoredLog(told), bodies, EVERYTHING, path)

    class Failing(FakeLog):
        left = 700

        async def append(self, subject, envelope):
            self.left -= 1
            if self.left < 0:
                raise LogUnavailable
            return await super().append(subject, envelope)

        async def append_batch(self, appends):
            raise LogUnavailable

    log = Failing()
    with pytest.raises(LogUnavailable):
        await import_file(log, bodies, pool, path)
    assert len(log.events) == 700
    log.left = 10_000
    assert (await import_file(log, bodies, pool, path)).appended == len(told) - 700
    assert content(log.events) == content(told)


async def test_large_events_go_in_batches_that_the_log_can_store_in_time(bodies, pool, path):
    text = "x" * 60_000
    source = FakeLog()
    for number in range(150):
        message = MessageReceived(message_id=str(number), author=ANA, text=text)
        await source.append(
            str(GENERAL), seal(message, id=EventId(f"e{number}"), at=number, actor="x")
        )
    await export(source, bodies, EVERYTHING, path)

    class Weighing(FakeLog):
        sizes = ()

        async def append_batch(self, appends):
            self.sizes += (sum(len(encode(append.envelope)) for append in appends),)
            return await super().append_batch(appends)

    log = Weighing()
    await import_file(log, bodies, pool, path)
    assert len(log.sizes) == 3
    assert max(log.sizes) < importing.BATCH_BYTES + len(text)
    assert content(log.events) == content(source.events)


async def test_an_event_that_is_in_the_file_twice_is_appended_once(told, bodies, pool, path):
    twice = [*told[:10], *(record(each.seq + 10, each.subject, each.body) for each in told[:10])]
    await export(StoredLog(twice), bodies, EVERYTHING, path)
    log = FakeLog()
    assert (await import_file(log, bodies, pool, path)).appended == 10
    assert content(log.events) == content(told[:10])


async def test_one_import_at_a_time(told, bodies, pool, path):
    await export(StoredLog(told[:5]), bodies, EVERYTHING, path)
    async with session(pool) as conn:
        await conn.execute("SELECT pg_advisory_lock(%s)", (importing.IMPORT_LOCK,))
        with pytest.raises(AlreadyImporting):
            await import_file(FakeLog(), bodies, pool, path)


def _lines(path):
    with path.open("rb") as file:
        whole = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return [json.loads(line) for line in whole.read().splitlines()]


def _rewrite(path, change):
    lines = [msgspec.json.encode(line) + b"\n" for line in _lines(path)]
    path.write_bytes(zstandard.compress(b"".join(change(lines))))


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "flipped": lambda path: path.write_bytes(_flip(path.read_bytes())),
    "not zstd": lambda path: path.write_bytes(b"hello"),
    "empty": lambda path: path.write_bytes(b""),
    "no manifest": lambda path: _rewrite(path, lambda lines: lines[1:]),
    "line missing": lambda path: _rewrite(path, lambda lines: lines[:-1]),
    "lines swapped": lambda path: _rewrite(path, lambda lines: [lines[0], *lines[:0:-1]]),
    "no json": lambda path: _rewrite(path, lambda lines: [*lines, b"{nothing\n"]),
    "other format": lambda path: _rewrite(
        path, lambda lines: [lines[0].replace(b'"penstock":1', b'"penstock":2'), *lines[1:]]
    ),
    "other subject": lambda path: _rewrite(
        path, lambda lines: [line.replace(b"evt.acme", b"evt.evil") for line in lines]
    ),
    "bad subject": lambda path: _rewrite(
        path, lambda lines: [line.replace(b"evt.acme.atlas", b"evt.acme") for line in lines]
    ),
    "bad body": lambda path: _rewrite(
        path, lambda lines: [line.replace(b'"base64":"', b'"base64":"AAAA') for line in lines]
    ),
    "missing": lambda path: path.unlink(),
}


def _flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_file_is_refused_before_anything_is_written(bodies, pool, path, damage):
    log = FakeLog()
    for number in range(30):
        ref = await bodies.put(sha256(b"%d" % number).digest())
        message = MessageReceived(message_id=str(number), author=ANA, text=ref)
        envelope = seal(message, id=EventId(f"e{number}"), at=number, actor="x")
        await log.append(str(GENERAL), envelope)
    await export(log, bodies, matching("acme"), path)
    damage(path)
    target, kept = FakeLog(), FakeBodies()
    with pytest.raises(InvalidFile):
        await import_file(target, kept, pool, path)
    assert (target.events, kept.bodies) == ([], {})


async def test_a_failed_export_leaves_no_file(told, bodies, tmp_path):
    class Away(StoredLog):
        async def tail(self, pattern, **how):
            async for recorded in super().tail(pattern, **how):
                if recorded.seq == 100:
                    raise LogUnavailable
                yield recorded

    with pytest.raises(LogUnavailable):
        await export(Away(told), bodies, EVERYTHING, tmp_path / "x.zst")
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []
