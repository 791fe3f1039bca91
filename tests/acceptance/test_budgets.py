"""Three processes race on one limit, and one of them is killed: the limit is never passed."""

import asyncio

import pytest

from schemas.channel import TurnCompleted
from schemas.run import CallRefused, ModelCalled, ModelReturned
from schemas.spend import SpendReserved, SpendSettled
from schemas.subjects import matching
from tests.support.fleet import BROKEN_OFF, installation
from tests.support.openai_server import OpenAIServer
from tests.support.relay import KEYED
from tests.support.scripts import Answer
from tests.support.servers import until

pytestmark = [pytest.mark.acceptance, BROKEN_OFF, pytest.mark.timeout(240)]

ROOMS = [f"room{number}" for number in range(50)]
LIMIT = 10
HELD_S = 1.5  # an answer takes long enough that somebody can be killed who waits for it


async def test_fifty_calls_of_three_processes_on_a_limit_of_ten(own_nats, database_url, tmp_path):
    config = tmp_path / "penstock.toml"
    config.write_text(f"[budgets.team]\nper = 'month'\ncalls = {LIMIT}\n")
    answer = Answer(text="Here you are.", first_after_s=HELD_S)
    async with (
        OpenAIServer(lambda _: answer) as server,
        installation(
            own_nats.url,
            database_url,
            tmp_path,
            {"channel": 3, "projector": 1},
            PENSTOCK_CONFIG=str(config),
            PENSTOCK_LOG_ACK_WAIT_S="2",
            OPENAI_API_BASE=server.url,
            **KEYED,
        ) as here,
    ):
        await here.fleet.started()

        async def of(kind, pattern="evt.>"):
            found = [it async for it in here.log.read(pattern, fresh=True)]
            return [it for it in found if isinstance(it.event, kind)]

        await asyncio.gather(*(here.say("hello", room=room) for room in ROOMS))

        async def some_wait_for_an_answer():
            return len(server.calls) >= LIMIT // 2

        await until(some_wait_for_an_answer, timeout_s=60)
        asked = {it.envelope.actor for it in await of(ModelCalled)}
        assert asked == {"channel"}
        victim = here.fleet.slots[0]
        await here.fleet.kill(victim)

        async def every_turn_is_over():
            return len(await of(TurnCompleted)) == len(ROOMS)

        await until(every_turn_is_over, timeout_s=120)
        spend = matching(entity="spend")
        reserved, settled = await of(SpendReserved, spend), await of(SpendSettled, spend)
        returned = await of(ModelReturned)
        assert len(reserved) == LIMIT
        assert len({it.event.reservation for it in reserved}) == LIMIT
        assert {it.event.reservation for it in reserved} == {it.event.reservation for it in settled}
        assert len(settled) == len(returned) == LIMIT
        assert len(await of(CallRefused)) == len(ROOMS) - LIMIT
        replies = [await here.replies(room) for room in ROOMS]
        assert all(len(each) == 1 for each in replies)
        told = [each[0] for each in replies if "the budget team is used up" in each[0]]
        assert len(told) == len(ROOMS) - LIMIT
