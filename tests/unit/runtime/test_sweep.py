"""What nobody holds any more is handed on, and one that cannot be helped keeps nobody waiting."""

from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from schemas.channel import BranchRequested
from services.errors import Fenced, Transient
from services.runtime import sweep as module
from services.runtime.conversations import Conversations
from services.runtime.sweep import REDELIVERED, Sweep
from services.runtime.writer import Writer
from tests.support.builders import CONVERSATION
from tests.support.fake_clock import FakeClock
from tests.support.fake_live import FakeLive
from tests.support.fake_log import FakeLog
from tests.support.replicas import FakeSnapshots


@dataclass
class Quiet:
    """A run of the conversation that has not moved for long."""

    run_id: str
    kind: str = "branch"
    tenant: str = CONVERSATION.tenant
    agent: str = CONVERSATION.agent
    adapter: str = CONVERSATION.adapter
    conversation: str = CONVERSATION.conversation


class Handler:
    """Remembers what it was handed; fails as it is told."""

    def __init__(self):
        self.handed = []
        self.failures = {}

    async def __call__(self, delivery):
        run_id = delivery.recorded.event.run_id
        self.handed.append((run_id, delivery.attempt))
        if run_id in self.failures:
            raise self.failures[run_id]


@pytest.fixture
def handler():
    return Handler()


@pytest.fixture
async def sweep(handler, monkeypatch):
    @asynccontextmanager
    async def no_database(pool):
        yield pool

    async def stalled(conn, *, before_at):
        return [Quiet("one"), Quiet("two"), Quiet("three")]

    monkeypatch.setattr(module, "using", no_database)
    log = FakeLog()
    writer = Writer(log, FakeClock(), "test")
    for run_id in ("one", "two", "three"):
        await log.append(
            str(CONVERSATION),
            writer.seal(BranchRequested(run_id=run_id, task="think", forked_at="e1")),
        )
    process = SimpleNamespace(
        clock=FakeClock(),
        live=FakeLive(),
        log=log,
        conversations=Conversations(log, FakeSnapshots()),
        pool=None,
    )
    return Sweep("branch", process, handler, stalled)


async def test_a_run_is_handed_on_when_it_was_unowned_twice_in_a_row(sweep, handler):
    assert await sweep.run_once() == []
    assert await sweep.run_once() == ["one", "two", "three"]
    assert handler.handed == [(run, REDELIVERED) for run in ("one", "two", "three")]


@pytest.mark.parametrize(
    "failure", [Fenced("not ours"), Transient("not now"), ZeroDivisionError("a bug")], ids=repr
)
async def test_one_that_cannot_be_helped_keeps_nobody_waiting(sweep, handler, failure):
    handler.failures["one"] = failure
    with capture_logs() as lines:
        await sweep.run_once()
        await sweep.run_once()
    assert [run for run, _ in handler.handed] == ["one", "two", "three"]
    failed = [line for line in lines if line["event"] == "run.unrecovered"]
    assert [line["run"] for line in failed] == ["one"]
