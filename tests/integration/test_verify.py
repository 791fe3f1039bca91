"""The log and its archive are compared event by event, and one can be restored from the other."""

from dataclasses import replace

import pytest

from projections.archive import Extent
from projections.registry import BY_NAME
from schemas.envelope import encode, seal
from services.projector import verify as verifying
from services.projector.verify import (
    CannotRestore,
    Gap,
    restore_archive,
    restore_log,
    verify,
)
from services.runtime.database import using
from services.runtime.recording import record
from tests.support.read_models import StoredLog, dump, project
from tests.support.stories import Story

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(verifying, "CHUNK", 7)
    monkeypatch.setattr(verifying, "BATCH", 5)


@pytest.fixture
async def events(pool):
    told = {each.envelope.id: each for each in Story(51).tell(120) if each.problem is None}
    events = list(told.values())[:60]  # a log takes no id twice within its window
    events = [record(seq, each.subject, each.body) for seq, each in enumerate(events, start=1)]
    await project(pool, events)
    return events


def gap(kind, first, last):
    return Gap(kind=kind, first=first, last=last)


async def lose(pool, *seqs):
    async with using(pool) as conn:
        await conn.execute("DELETE FROM archive WHERE seq = ANY(%s)", (list(seqs),))


async def test_a_whole_log_has_no_gaps(pool, events):
    found = await verify(StoredLog(events), pool)
    assert (found.log_last, found.same, found.pending, found.gaps) == (60, 60, 0, [])
    assert found.archive == Extent(count=60, first=1, last=60)


async def test_an_empty_installation_has_no_gaps(pool):
    assert (await verify(StoredLog(), pool)).gaps == []


async def test_what_is_not_archived_yet_is_pending(pool, events):
    async with using(pool) as conn:
        await conn.execute("DELETE FROM archive WHERE seq > 50")
        await conn.execute("UPDATE projection_positions SET seq = 50 WHERE name = 'archive'")
    found = await verify(StoredLog(events), pool)
    assert (found.same, found.pending, found.gaps) == (50, 10, [])


async def test_every_gap_is_named(pool, events):
    await lose(pool, *range(5, 10), 20, 21)
    async with using(pool) as conn:
        await conn.execute("UPDATE archive SET body = body || ' ' WHERE seq = 30")
        await conn.execute("UPDATE archive SET subject = subject || '2' WHERE seq = 31")
    log = StoredLog([each for each in events if each.seq not in {20, 21, 40, 41, 42, 60}])
    found = await verify(log, pool)
    assert found.gaps == [
        gap("missing_in_archive", 5, 9),
        gap("missing_in_both", 20, 21),
        gap("different", 30, 31),
        gap("missing_in_log", 40, 42),
        gap("missing_in_log", 60, 60),
    ]
    assert [each.count for each in found.gaps] == [5, 2, 2, 3, 1]


async def test_the_archive_is_restored_from_the_log(pool, events):
    before = await dump(pool)
    await lose(pool, *range(5, 30), 60)
    async with using(pool) as conn:
        await conn.execute("UPDATE archive SET body = 'rotten' WHERE seq = 40")
    log = StoredLog(events)
    assert await restore_archive(log, pool, (await verify(log, pool)).gaps) == 27
    assert await dump(pool) == before
    assert (await verify(log, pool)).gaps == []


async def test_nothing_tells_which_of_two_readable_copies_is_right(pool, events):
    other = seal(events[9].event, id=events[9].envelope.id, at=1, actor="other")
    changed = [*events[:9], replace(events[9], body=encode(other)), *events[10:]]
    log = StoredLog(changed)
    gaps = (await verify(log, pool)).gaps
    assert gaps == [gap("different", 10, 10)]
    assert await restore_archive(log, pool, gaps) == 0
    assert (await verify(log, pool)).gaps == gaps


async def test_what_a_log_lost_at_its_end_is_appended_again_where_it_was(pool, events):
    log = StoredLog(events[:38])
    assert await restore_log(log, pool) == 22
    assert [(each.seq, each.subject, each.body) for each in log.events] == [
        (each.seq, each.subject, each.body) for each in events
    ]
    assert (await verify(log, pool)).gaps == []
    assert await restore_log(log, pool) == 0


async def test_a_whole_log_comes_back_from_the_archive(pool, events):
    log = StoredLog()
    assert await restore_log(log, pool) == 60
    assert (await verify(log, pool)).gaps == []


async def test_a_log_that_was_begun_anew_is_not_restored_behind_its_new_beginning(pool, events):
    """The first events of the lost log would be in it nowhere, and the rest behind strangers."""
    log = StoredLog([record(n, e.subject, e.body) for n, e in enumerate(events[30:33], start=1)])
    with pytest.raises(CannotRestore, match="event 3 of the log is another"):
        await restore_log(log, pool)
    assert len(log.events) == 3


async def test_a_log_is_not_restored_over_a_hole_of_the_archive(pool, events):
    await lose(pool, 50)
    log = StoredLog(events[:45])
    with pytest.raises(CannotRestore, match="holes behind 45"):
        await restore_log(log, pool)
    assert len(log.events) == 45


async def test_a_damaged_copy_cannot_be_appended(pool, events):
    async with using(pool) as conn:
        await conn.execute("UPDATE archive SET body = 'rotten' WHERE seq = 50")
    with pytest.raises(CannotRestore, match="event 50 was damaged"):
        await restore_log(StoredLog(events[:49]), pool)


async def test_something_else_that_was_appended_meanwhile_is_noticed(pool, events):
    class Busy(StoredLog):
        async def append_batch(self, appends):
            await super().append("evt.acme.atlas.portal.x.channel._", other)
            return await super().append_batch(appends)

    other = seal(events[0].event, id="other", at=1, actor="someone")
    with pytest.raises(CannotRestore, match="something else was appended"):
        await restore_log(Busy(events[:55]), pool)


async def test_the_archive_keeps_what_cannot_be_read(pool):
    events = Story(52).tell(400)
    assert any(each.problem for each in events)
    await project(pool, events)
    assert (await verify(StoredLog(events), pool)).gaps == []
    assert BY_NAME["archive"].tables == ("archive",)
