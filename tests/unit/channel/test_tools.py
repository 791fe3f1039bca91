"""What a conversation's model can do, and what it is told when it cannot."""

import msgspec
import pytest

from schemas.base import EventId, RunId
from schemas.channel import BranchRequested, FileSent, InputRouted, ReactionAdded, ReplySent
from services.channel.tools import TOOLS, Scope
from services.channel.turn import Turn
from services.errors import Rejected
from services.runtime.conversations import Conversations
from services.runtime.sandbox.workspace import Workspace
from services.runtime.writer import Writer
from tests.support.builders import (
    BEN,
    CONVERSATION,
    branch,
    checkpoint,
    message,
    reply,
    turn_started,
    worker,
    worker_concluded,
    worker_reported,
)
from tests.support.fake_clock import FakeClock
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.replicas import FakeSnapshots

BY_NAME = {tool.name: tool for tool in TOOLS}


class Bench:
    """An open turn in a conversation, and its tools."""

    def __init__(self, place) -> None:
        self.log = FakeLog()
        self.writer = Writer(self.log, FakeClock(), "channel")
        self.workspace = Workspace(place)
        self.conversations = Conversations(self.log, FakeSnapshots())

    async def open(self, *events, max_branches=2, max_workers=2) -> None:
        """Have these events and then a turn in the log, and be its owner."""
        for event in (*events, turn_started("t1")):
            await self.log.append(str(CONVERSATION), self.writer.seal(event))
        turn = Turn(
            subject=CONVERSATION,
            turn_id=RunId("t1"),
            attempt=1,
            holder=EventId("e1"),
            conversations=self.conversations,
            writer=self.writer,
            state=await self.conversations.newest(CONVERSATION),
        )
        self.scope = Scope(turn, FakeBodies(), self.workspace, max_branches, max_workers)
        self.told = len(self.log.events)

    async def use(self, name, key="t1/s1c0", **arguments) -> str:
        tool = BY_NAME[name]
        output = await tool.run(self.scope, key, msgspec.convert(arguments, tool.arguments))
        assert output.status == "ok"
        return output.text

    @property
    def effects(self):
        return [recorded.event for recorded in self.log.events[self.told :]]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


# -- talking ----------------------------------------------------------------------------------


async def test_a_reply_is_sent_once_however_often_it_is_tried(bench):
    await bench.open(message())
    for _ in range(3):
        assert await bench.use("reply", text="hi\x00") == "Sent."
    assert bench.effects == [ReplySent(turn_id="t1", text="hi\u2400")]


async def test_two_replies_are_two(bench):
    await bench.open(message())
    await bench.use("reply", "t1/s1c0", text="one")
    await bench.use("reply", "t1/s1c1", text="two")
    assert [reply.text for reply in bench.effects] == ["one", "two"]


async def test_a_long_reply_is_kept_by_reference(bench):
    await bench.open(message())
    await bench.use("reply", text="x" * 100_000)
    assert bench.effects[0].text.bytes == 100_000


async def test_silence_leaves_no_trace(bench):
    await bench.open(message())
    assert await bench.use("skip", reason="not for me") == "Silent."
    assert bench.effects == []


async def test_a_reaction_is_to_the_newest_message_of_the_turn(bench):
    await bench.open(message(), message(message_id="m2", author=BEN))
    await bench.use("react", emoji="👍")
    assert bench.effects == [ReactionAdded(turn_id="t1", emoji="👍", message_id="m2")]


async def test_there_is_nothing_to_react_to_when_only_results_came(bench):
    await bench.open(worker("w1", interactive=True), worker_reported("w1"))
    with pytest.raises(Rejected, match="no message"):
        await bench.use("react", emoji="👍")


# -- delegating -------------------------------------------------------------------------------


async def test_a_branch_forks_the_conversation_where_it_is(bench):
    await bench.open(message())
    forked_at = bench.log.events[-1].envelope.id
    told = await bench.use("branch", task="find out")
    (requested,) = bench.effects
    assert requested == BranchRequested(
        run_id=requested.run_id, task="find out", forked_at=forked_at
    )
    assert requested.run_id in told


async def test_a_worker_knows_who_asked(bench):
    await bench.open(message())
    await bench.use("spawn_worker", task="build", interactive=True)
    (requested,) = bench.effects
    assert (requested.task, requested.interactive, requested.parent) == ("build", True, "t1")
    assert requested.forked_at is None


@pytest.mark.parametrize("name", ["branch", "spawn_worker"])
async def test_delegating_again_after_a_crash_is_the_same_run(bench, name):
    await bench.open(message(), max_branches=1, max_workers=1)
    assert await bench.use(name, task="x") == await bench.use(name, task="x")
    assert len(bench.effects) == 1


@pytest.mark.parametrize(
    ("name", "running"),
    [("branch", (branch("b1"), branch("b2"))), ("spawn_worker", (worker("w1"), worker("w2")))],
)
async def test_only_so_many_runs_at_once(bench, name, running):
    await bench.open(message(), *running)
    with pytest.raises(Rejected, match="2 of 2"):
        await bench.use(name, task="one more")
    assert bench.effects == []


async def test_branches_and_workers_are_counted_apart(bench):
    await bench.open(message(), worker("w1"), worker("w2"))
    await bench.use("branch", task="think")
    assert len(bench.effects) == 1


# -- steering ---------------------------------------------------------------------------------


async def test_input_goes_to_the_worker_that_the_beginning_of_an_id_names(bench):
    await bench.open(message(), worker("aaa-1"), worker("bbb-2"))
    assert await bench.use("route", worker_id=" bbb ", message="more") == (
        "Passed on to worker bbb-2."
    )
    assert bench.effects == [InputRouted(run_id="bbb-2", text="more")]


@pytest.mark.parametrize("wanted", ["", "zzz", "a", "b1"])
async def test_input_goes_nowhere_when_no_single_worker_is_meant(bench, wanted):
    await bench.open(message(), branch("b1"), worker("aaa-1"), worker("abb-2"))
    with pytest.raises(Rejected, match="Active: aaa-1, abb-2"):
        await bench.use("route", worker_id=wanted, message="more")


async def test_a_stop_reaches_branches_and_workers(bench):
    await bench.open(message(), branch("b1"), worker("w1"))
    await bench.use("cancel", "t1/s1c0", run_id="b1", reason="enough")
    await bench.use("cancel", "t1/s1c1", run_id="w1")
    assert [(stop.run_id, stop.reason) for stop in bench.effects] == [("b1", "enough"), ("w1", "")]


async def test_there_is_nothing_to_stop(bench):
    await bench.open(message())
    with pytest.raises(Rejected, match="Active: none"):
        await bench.use("cancel", run_id="w1")


# -- files ------------------------------------------------------------------------------------


async def test_a_file_of_the_workspace_is_sent(bench):
    await bench.open(message())
    bench.workspace.write("out/plan.png", b"\x89PNG")
    assert await bench.use("send_file", path="out/plan.png", caption="as asked") == (
        "Sent plan.png, 4 bytes."
    )
    (sent,) = bench.effects
    assert isinstance(sent, FileSent)
    assert (sent.name, sent.caption, sent.body.media_type) == ("plan.png", "as asked", "image/png")
    assert await bench.scope.bodies.get(sent.body) == b"\x89PNG"


async def test_a_file_of_an_unknown_kind_is_bytes(bench):
    await bench.open(message())
    bench.workspace.write("thing", b"x")
    await bench.use("send_file", path="thing")
    assert bench.effects[0].body.media_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("path", "error"),
    [("../secret", Rejected), ("/etc/passwd", Rejected), ("nowhere.txt", OSError)],
)
async def test_only_files_of_the_workspace_are_sent(bench, path, error):
    await bench.open(message())
    with pytest.raises(error):
        await bench.use("send_file", path=path)
    assert bench.effects == []


# -- after an interruption ----------------------------------------------------------------------


async def test_what_was_done_before_an_interruption_is_not_refused_after_it(bench):
    """The owner died behind the effect, and by now its precondition holds no more."""
    await bench.open(message(), worker("w1", interactive=True), branch("b1"), max_branches=2)
    (bench.workspace.root / "plan.txt").write_text("the plan")
    steps = [
        ("route", "t1/s1c0", {"worker_id": "w1", "message": "go on"}),
        ("cancel", "t1/s1c1", {"run_id": "w1"}),
        ("send_file", "t1/s1c2", {"path": "plan.txt"}),
        ("branch", "t1/s1c3", {"task": "think"}),
    ]
    for name, key, arguments in steps:
        await bench.use(name, key, **arguments)
    (bench.workspace.root / "plan.txt").unlink()
    for event in (worker_concluded("w1"), branch("b2")):
        await bench.log.append(str(CONVERSATION), bench.writer.seal(event))
    await bench.scope.turn.refresh()
    bench.told = len(bench.log.events)
    for name, key, arguments in steps:
        assert await bench.use(name, key, **arguments) == "Done, before an interruption."
    assert bench.effects == []
    with pytest.raises(Rejected):
        await bench.use("route", "t1/s2c0", worker_id="w1", message="go on")


# -- checkpoints ------------------------------------------------------------------------------


async def test_checkpoints_are_listed_and_opened_without_any_effect(bench):
    cut = checkpoint("e0", title="The release day", summary="It is Thursday.")
    await bench.open(message("hello"), reply("old"), cut)
    assert (await bench.use("checkpoint_list")).endswith("The release day")
    assert (await bench.use("checkpoint_open", number=1)).endswith("day\nIt is Thursday.")
    with pytest.raises(Rejected, match="no checkpoint #2"):
        await bench.use("checkpoint_open", number=2)
    assert bench.effects == []


async def test_a_short_conversation_has_no_checkpoints_to_list(bench):
    await bench.open(message("hello"))
    assert "There are no checkpoints" in await bench.use("checkpoint_list")
