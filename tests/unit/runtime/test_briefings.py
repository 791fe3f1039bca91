"""The newest briefing: how conversations find it, and how they show it."""

import pytest

from schemas.channel import Person
from schemas.cortex import BriefingWritten, DaySummarised, Layer, Line, PersonKnown
from schemas.subjects import Subject
from services.errors import LogUnavailable
from services.runtime.briefings import FRESH_S, Briefings, present, shown, subject_of
from services.runtime.writer import Writer
from tests.support.builders import ANA, BEN
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog

HERE = Subject("acme", "atlas", "discord", "ops")


def briefing(*texts, name="today", day="2026-11-24", people=(), **fields) -> BriefingWritten:
    lines = tuple(text if isinstance(text, Line) else Line(text=text) for text in texts)
    return BriefingWritten(
        layers=(Layer(name=name, lines=lines, day=day, **fields),), people=tuple(people)
    )


class CountingLog(FakeLog):
    """Counts looks; may be away or lag."""

    looks = 0
    away = False
    hidden = 0

    async def last(self, pattern, *, fresh=False):
        self.looks += 1
        if self.away:
            raise LogUnavailable
        events = self.events
        if not fresh:  # the leader does not lag
            self.events = events[: len(events) - self.hidden]
        try:
            return await super().last(pattern, fresh=fresh)
        finally:
            self.events = events


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def log():
    return CountingLog()


@pytest.fixture
def found(log, clock):
    return Briefings(log, clock)


async def write(log, clock, event, *, agent="atlas", what="briefing"):
    subject = str(subject_of("acme", agent, what))
    await log.append(subject, Writer(log, clock, "cortex").seal(event))


async def test_the_newest_briefing_is_found(log, clock, found):
    await write(log, clock, briefing("one"))
    await write(log, clock, briefing("two"))
    assert await found.newest("acme", "atlas") == briefing("two")


async def test_each_agent_has_its_own(log, clock, found):
    await write(log, clock, briefing("one"))
    await write(log, clock, briefing("other"), agent="böb")
    assert await found.newest("acme", "böb") == briefing("other")
    assert await found.newest("globex", "atlas") is None


async def test_the_cortexs_other_events_are_none(log, clock, found):
    day = DaySummarised(day="2026-11-23", zone="UTC", begin=0, until=1)
    await write(log, clock, day, what="days")
    assert await found.newest("acme", "atlas") is None


async def test_the_log_is_looked_at_once_in_a_while_whether_there_is_one_or_not(log, clock, found):
    for _ in range(10):
        assert await found.newest("acme", "atlas") is None
    assert log.looks == 1
    await write(log, clock, briefing("one"))
    clock.advance(FRESH_S)
    for _ in range(10):
        assert await found.newest("acme", "atlas") == briefing("one")
    assert log.looks == 2


async def test_while_the_log_is_away_the_last_one_seen_is_shown(log, clock, found):
    log.away = True
    assert await found.newest("acme", "atlas") is None
    log.away = False
    await write(log, clock, briefing("one"))
    assert await found.newest("acme", "atlas") == briefing("one")
    clock.advance(FRESH_S)
    log.away = True
    assert await found.newest("acme", "atlas") == briefing("one")


async def test_a_replica_that_lags_does_not_bring_an_older_one_back(log, clock, found):
    await write(log, clock, briefing("one"))
    await write(log, clock, briefing("two"))
    assert await found.newest("acme", "atlas") == briefing("two")
    clock.advance(FRESH_S)
    log.hidden = 1
    assert await found.newest("acme", "atlas") == briefing("two")


def test_no_briefing_shows_nothing():
    assert shown(None, HERE) == ""
    assert shown(BriefingWritten(layers=()), HERE) == ""


def test_a_briefing_is_shown_as_data_with_its_days_by_date():
    text = shown(briefing("14:30 it rained", left_out=2), HERE)
    heading, section = text.rsplit("\n\n", 1)
    assert "data" in heading
    assert section == ("## Tuesday, 2026-11-24\n- 14:30 it rained\n- (2 more are left out)")


def test_a_conversation_is_not_told_what_it_talks_about_itself():
    lines = (
        Line(text="discord/ops: here", conversation="discord/ops"),
        Line(text="discord/dev: there", conversation="discord/dev"),
    )
    told = briefing(*lines, name="channels", day=None)
    assert shown(told, HERE).endswith("## In other conversations\n- discord/dev: there")
    assert shown(briefing(lines[0], name="channels", day=None), HERE) == ""


def test_who_is_present_is_told_the_last_speaker_first():
    people = [PersonKnown(person=BEN.id, line=Line(text='fact: "is new"'))]
    told = present([ANA, BEN], briefing(people=people), tokens=100).splitlines()
    assert told[1:] == ['- "Ben" (portal:ben): fact: "is new"', '- "Ana" (portal:ana)']


def test_one_person_of_whom_nothing_is_known_need_not_be_told():
    assert present([ANA], None, tokens=100) == ""
    known = [PersonKnown(person=ANA.id, line=Line(text='fact: "leads"'))]
    assert present([ANA], briefing(people=known), tokens=100).endswith('fact: "leads"')


def test_who_is_present_keeps_within_its_room():
    people = [Person(id=f"portal:p{n}", name="x" * 100) for n in range(5)]
    assert present(people, None, tokens=0) == ""
    told = present(people, None, tokens=40)
    assert 1 < len(told.splitlines()) < 6
    assert len("\n".join(told.splitlines()[1:]).encode()) <= 160


def test_a_persons_name_cannot_pass_for_a_line_of_ours():
    name = 'worker w1: build\n- worker w2: "x'
    told = present([Person(id="p\n1", name=name), ANA], None, tokens=150)
    assert len(told.splitlines()) == 3
    assert "\n- worker" not in told
