"""The effects of a turn: by compare-and-append, once each, by its owner alone."""

import pytest

from schemas.base import EventId, RunId
from schemas.channel import TurnCompleted
from services.channel.turn import PATIENCE_S, RETRY_S, Turn
from services.errors import Fenced, LogFull, LogUnavailable
from services.runtime.conversations import Conversations
from services.runtime.writer import Writer
from tests.support.builders import (
    CONVERSATION,
    message,
    reply,
    turn_completed,
    turn_resumed,
    turn_started,
)
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeLog
from tests.support.replicas import FakeSnapshots

SUBJECT = str(CONVERSATION)


class Bench:
    """A conversation with an open turn, and whoever owns it."""

    def __init__(self) -> None:
        self.log = FakeLog()
        self.clock = FakeClock()
        self.writer = Writer(self.log, self.clock, "channel")

    async def tell(self, *events) -> None:
        for event in events:
            await self.log.append(SUBJECT, self.writer.seal(event))

    async def turn(self, attempt=1) -> Turn:
        conversations = Conversations(self.log, FakeSnapshots())
        return Turn(
            subject=CONVERSATION,
            turn_id=RunId("t1"),
            attempt=attempt,
            holder=EventId("e1"),
            conversations=conversations,
            writer=self.writer,
            state=await conversations.newest(CONVERSATION),
        )

    @property
    def types(self):
        return [recorded.envelope.type for recorded in self.log.events]


@pytest.fixture
async def bench():
    bench = Bench()
    await bench.tell(message(), turn_started("t1"))
    return bench


OPENED = ["message_received", "turn_started"]


async def test_an_effect_is_appended_and_known(bench):
    turn = await bench.turn()
    id_ = await turn.effect(reply(), "text")
    assert turn.state.turn.effects == (id_,)
    envelope = bench.log.events[-1].envelope
    assert (envelope.id, envelope.cause, envelope.turn) == (id_, "e1", "t1")


async def test_an_effect_is_there_once(bench):
    turn = await bench.turn()
    await turn.effect(reply(), "text")
    bench.log._ids.clear()
    await turn.effect(reply(), "text")
    await (await bench.turn()).effect(reply("another wording"), "text")
    assert bench.types == [*OPENED, "reply_sent"]


async def test_effects_of_different_keys_are_different(bench):
    turn = await bench.turn()
    await turn.effect(reply("one"), "one")
    await turn.effect(reply("two"), "two")
    assert bench.types == [*OPENED, "reply_sent", "reply_sent"]


async def test_what_came_meanwhile_is_taken_in(bench):
    turn = await bench.turn()
    await bench.tell(message(message_id="m2"))
    await turn.effect(reply(), "text")
    assert bench.types == [*OPENED, "message_received", "reply_sent"]
    assert len(turn.state.unhandled) == 2


async def test_the_end_is_there_once_and_nothing_behind_it(bench):
    turn, again = await bench.turn(), await bench.turn()
    await turn.end(turn_completed())
    with pytest.raises(Fenced, match="is over"):
        await turn.effect(reply(), "late")
    bench.log._ids.clear()
    with pytest.raises(Fenced, match="is over"):
        await again.end(TurnCompleted(turn_id=RunId("t1"), handled=()))
    assert bench.types == [*OPENED, "turn_completed"]


async def test_an_owner_that_was_replaced_writes_nothing(bench):
    turn = await bench.turn()
    await bench.tell(turn_resumed("t1", owner="two", attempt=2))
    with pytest.raises(Fenced, match="owned by two"):
        await turn.effect(reply(), "text")
    with pytest.raises(Fenced, match="owned by two"):
        await turn.end(turn_completed())
    assert bench.types == [*OPENED, "turn_resumed"]


async def test_an_owner_that_was_replaced_learns_it_when_it_looks(bench):
    turn = await bench.turn()
    await turn.refresh()
    await bench.tell(turn_resumed("t1", owner="two", attempt=2))
    with pytest.raises(Fenced):
        await turn.refresh()


async def test_a_process_that_took_over_from_itself_is_not_its_earlier_self(bench):
    await bench.tell(turn_resumed("t1", owner="one", attempt=2))
    await (await bench.turn(attempt=2)).refresh()
    with pytest.raises(Fenced):
        await (await bench.turn(attempt=1)).refresh()


async def test_another_turn_is_not_ours(bench):
    turn = await bench.turn()
    await bench.tell(turn_completed(turn="t1"), turn_started("t2"))
    with pytest.raises(Fenced, match="t1 is over"):
        await turn.refresh()


@pytest.mark.parametrize("error", [LogUnavailable("away"), LogFull("full")])
async def test_an_absent_log_is_waited_for(bench, error):
    turn = await bench.turn()
    left = [3]

    def before(subject):
        if left[0]:
            left[0] -= 1
            raise error

    bench.log.before_append = before
    await turn.effect(reply(), "text")
    assert bench.clock.slept == [RETRY_S] * 3
    assert bench.types == [*OPENED, "reply_sent"]


async def test_an_absent_log_is_not_waited_for_for_ever(bench):
    turn = await bench.turn()

    def before(subject):
        raise LogUnavailable("away")

    bench.log.before_append = before
    with pytest.raises(LogUnavailable):
        await turn.effect(reply(), "text")
    assert sum(bench.clock.slept) == pytest.approx(PATIENCE_S, abs=2 * RETRY_S)
