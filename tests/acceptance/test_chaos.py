"""Services are killed again and again while people talk; nothing is lost, nothing is doubled."""

import asyncio
import os
import random

import pytest

from tests.support.chaos import Crowd, brain, settled, trail
from tests.support.fleet import installation
from tests.support.openai_server import OpenAIServer

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

UNLIMITED = {
    "PENSTOCK_CHANNEL_MAX_RETRIGGERS": "100",
    "PENSTOCK_CHANNEL_MAX_WORKERS": "100",
    "PENSTOCK_CHANNEL_MAX_BRANCHES": "100",
    "PENSTOCK_CHANNEL_RETRIGGER_DEBOUNCE_MS": "100",
    "PENSTOCK_CHANNEL_ATTEMPTS": "100",
}


async def talking(nats_url, database_url, tmp_path, *, replicas, crowd, kills, every_s):
    """Let people talk while services are killed; return the verdict, the fleet, its exit codes."""
    chance = random.Random(7)  # noqa: S311 - repeatable, not secret
    model = {"PENSTOCK_MODEL": "openai/chaos", "OPENAI_API_KEY": "sk-not-a-secret"}
    async with (
        OpenAIServer(brain(chance)) as server,
        installation(
            nats_url,
            database_url,
            tmp_path,
            replicas,
            **UNLIMITED,
            **model,
            OPENAI_API_BASE=server.url,
        ) as running,
    ):
        people = Crowd(running.intake, **crowd)
        await asyncio.gather(
            people.talk(),
            running.fleet.kill_at_random(kills, every_s, services=list(replicas), seed=3),
        )
        verdict = await settled(running.log, people.sent, timeout_s=120)
        lines = await trail(running.log, [*verdict.problems, *verdict.unsettled])
        (tmp_path / "trail.txt").write_text("\n".join(lines))
        codes = await running.fleet.stop()
    print(verdict, running.fleet.kills, codes)
    return verdict, running.fleet, codes


async def test_nothing_is_lost_or_doubled_when_every_service_is_killed_again_and_again(
    empty_nats_url, database_url, tmp_path
):
    verdict, fleet, codes = await talking(
        empty_nats_url,
        database_url,
        tmp_path,
        replicas={"channel": 2, "branch": 1, "worker": 2, "projector": 1},
        crowd={"conversations": 50, "messages": 3, "pause_s": (0.5, 8.0)},
        kills=16,
        every_s=(0.5, 2.0),
    )
    assert verdict.problems == []
    assert verdict.unsettled == []
    assert codes == [0] * len(codes)
    assert min(fleet.kills.values()) == 4


@pytest.mark.soak
@pytest.mark.timeout(3_600)
async def test_a_hundred_and_twenty_kills(empty_nats_url, database_url, tmp_path):
    verdict, fleet, codes = await talking(
        empty_nats_url,
        database_url,
        tmp_path,
        replicas={"channel": 3, "branch": 3, "worker": 3, "projector": 2, "api": 1},
        crowd={"conversations": 50, "messages": 30, "pause_s": (0.5, 12.0)},
        kills=int(os.environ.get("SOAK_KILLS", "120")),
        every_s=(0.3, 2.5),
    )
    assert verdict.problems == []
    assert verdict.unsettled == []
    assert fleet.kills.total() >= 100
    assert codes == [0] * len(codes)
