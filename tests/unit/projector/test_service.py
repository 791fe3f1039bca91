"""A projection that cannot catch up is not forgotten."""

import asyncio
from types import SimpleNamespace

import pytest

from services.projector import service as module
from services.projector.applying import Member
from services.projector.pack import Pack
from services.projector.service import Projector
from tests.support.fake_log import FakeLog


async def test_a_bug_in_catching_up_ends_the_projector_so_that_it_is_started_again(monkeypatch):
    async def bug(self, member):
        raise ZeroDivisionError

    monkeypatch.setattr(module, "IDLE_S", 0.01)
    monkeypatch.setattr(Projector, "_try_bring_up", bug)
    log = FakeLog()
    projector = Projector(log, pool=None, projections=())
    projector._send_away(Member(SimpleNamespace(name="late"), 0))
    async with asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            await projector._follow(None, Pack(None, log, [], 0, projector._send_away))
