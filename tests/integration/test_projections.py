"""Given events, then rows, read through each projection's own queries."""

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from projections import agents, archive, conversations, dead_letters, memories, runs
from projections.conversations import Conversation
from projections.registry import BY_NAME, PROJECTIONS, READER
from projections.trace import trace
from schemas.base import AgentId, BodyRef, EventId, MemoryId, RunId
from schemas.channel import (
    BranchConcluded,
    BranchRequested,
    CancelRequested,
    ConversationForked,
    FileSent,
    InputRouted,
    MessageReceived,
    Person,
    ReactionAdded,
    ReplySent,
    RetryRequested,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    WorkerConcluded,
    WorkerReported,
    WorkerRequested,
)
from schemas.config import AgentDefined, AgentRetired
from schemas.dead import DeliveryParked, DeliveryRetried
from schemas.envelope import encode, seal
from schemas.memory import MemoryForgotten, MemoryLinked, MemorySaved, MemoryTouched, Replaced
from schemas.run import (
    ModelCalled,
    ModelFailed,
    ModelReturned,
    RunEnded,
    RunResumed,
    RunStarted,
    RunWaiting,
    StatusSet,
    ToolCall,
    ToolCalled,
    ToolReturned,
    Usage,
)
from schemas.subjects import Subject
from services.runtime import database
from services.runtime.database import reading, using
from services.runtime.recording import record
from tests.support.read_models import dump, project
from tests.support.stories import Story

pytestmark = pytest.mark.integration

GENERAL = Subject("acme", "atlas", "portal", "general")
MEMORY = Subject("acme", "atlas", entity="memory")
TURN, BRANCH, WORKER = RunId("t-1"), RunId("b-1"), RunId("w-1")
SHA = "ab" * 32
BODY = BodyRef(sha256=SHA, bytes=3)
ANA = Person(id="portal:ana", name="Ana")


def said(text="hello", message_id="p-1"):
    return MessageReceived(message_id=message_id, author=ANA, text=text)


class Given:
    """Events on their subjects, a millisecond apart, each with an id of its own."""

    def __init__(self, pool) -> None:
        self.pool = pool
        self.events = []

    async def given(self, *events, subject=GENERAL, turn=None, **envelope):
        start = len(self.events)
        for event in events:
            seq = len(self.events) + 1
            identity = {"id": EventId(f"e{seq}"), "at": seq * 1_000, "actor": "test", **envelope}
            sealed = seal(event, turn=turn, **identity)
            self.events.append(record(seq, str(subject), encode(sealed)))
        async with self.pool.connection() as conn:
            for projection in PROJECTIONS:
                await projection.apply(conn, self.events[start:])

    def reading(self, tenant="acme"):
        return reading(self.pool, tenant)


@pytest.fixture
def model(pool):
    return Given(pool)


async def test_a_conversation_tells_who_said_what(model):
    await model.given(
        said("when is it?"),
        TurnStarted(turn_id=TURN, owner="a"),
        ReplySent(turn_id=TURN, text="on Thursday", reply_to="p-1"),
        ReactionAdded(turn_id=TURN, emoji="👍", message_id="p-1"),
        FileSent(turn_id=TURN, name="plan.pdf", body=BODY, caption="the plan"),
        TurnCompleted(turn_id=TURN, handled=()),
    )
    async with model.reading() as conn:
        found = await conversations.messages(conn, GENERAL)
        assert [(m.seq, m.role, m.author_name, m.text, m.reply_to) for m in found] == [
            (1, "person", "Ana", "when is it?", None),
            (3, "agent", None, "on Thursday", "p-1"),
            (4, "reaction", None, "👍", "p-1"),
            (5, "file", None, "the plan", None),
        ]
        assert (found[3].name, found[3].body) == ("plan.pdf", BODY)
        assert [m.seq for m in await conversations.messages(conn, GENERAL, after=3, limit=1)] == [4]
        assert [m.seq for m in await conversations.latest(conn, GENERAL, limit=2)] == [4, 5]
        assert [m.seq for m in await conversations.latest(conn, GENERAL, before=4)] == [1, 3]


async def test_long_texts_are_references(model):
    await model.given(said(BODY))
    async with model.reading() as conn:
        assert (await conversations.messages(conn, GENERAL))[0].text == BODY


async def test_a_conversation_is_counted_and_listed_by_activity(model):
    other = GENERAL._replace(conversation="other")
    await model.given(said(), TurnStarted(turn_id=TURN, owner="a"))
    await model.given(said(), subject=other)
    async with model.reading() as conn:
        assert [c.conversation for c in await conversations.listing(conn, "acme")] == [
            "other",
            "general",
        ]
        assert await conversations.listing(conn, "acme", agent="nobody") == []
        assert [c.last_seq for c in await conversations.listing(conn, "acme", before=3)] == [2]
        assert await conversations.one(conn, GENERAL) == Conversation(
            agent="atlas",
            adapter="portal",
            conversation="general",
            started_at=1_000,
            last_at=2_000,
            last_seq=2,
            open_turn=TURN,
            received=1,
            sent=0,
        )
        assert await conversations.one(conn, GENERAL._replace(agent="none")) is None


async def test_a_fork_is_a_conversation_that_says_whose_history_it_shares(model):
    fork = GENERAL._replace(adapter="fork", conversation="there")
    forked = ConversationForked(adapter="portal", conversation="general", at=EventId("e1"))
    replied = ReplySent(turn_id=TURN, text="hi")
    await model.given(said())
    await model.given(forked, said(message_id="p-2"), replied, subject=fork)
    async with model.reading() as conn:
        row = await conversations.one(conn, fork)
        assert row is not None
        assert (row.fork_of, row.forked_at) == ("portal/general", "e1")
        assert (row.received, row.sent) == (1, 1)
        assert [m.role for m in await conversations.messages(conn, fork)] == ["person", "agent"]
        other = await conversations.one(conn, GENERAL)
        assert other is not None
        assert (other.fork_of, other.received) == (None, 1)


async def test_what_is_said_in_a_fork_is_no_activity_and_nothing_to_look_through(model):
    fork = GENERAL._replace(adapter="fork", conversation="there")
    open_talk = MessageReceived(message_id="p-1", author=ANA, text="hello", group=True)
    recalled = ToolReturned(
        run_id=BRANCH, call_id="c1", name="memory_recall", status="ok", recalled=(MemoryId("m1"),)
    )
    saved = MemorySaved(
        memory_id=MemoryId("m1"), kind="fact", text="x", importance=0.5, scope="agent"
    )
    await model.given(saved, subject=MEMORY)
    await model.given(open_talk, WorkerRequested(run_id=WORKER, task="do"), subject=fork)
    await model.given(recalled, subject=fork.of("branch", BRANCH))
    tables = await dump(model.pool)
    assert not tables["persistence"]
    assert not tables["places"]
    (row,) = tables["activity"]
    assert ",memory," in row
    assert not tables["memory_uses"]


async def test_a_turn_is_open_until_it_ends(model):
    await model.given(TurnStarted(turn_id=TURN, owner="a"), TurnCompleted(turn_id=TURN, handled=()))
    async with model.reading() as conn:
        conversation = await conversations.one(conn, GENERAL)
    assert conversation is not None
    assert conversation.open_turn is None


async def test_a_message_that_is_in_the_log_twice_is_one_row_and_counts_once(model):
    await model.given(said(), id=EventId("same"))
    await model.given(said(), said(), id=EventId("same"))
    async with model.reading() as conn:
        assert [m.seq for m in await conversations.messages(conn, GENERAL)] == [1]
        (conversation,) = await conversations.listing(conn, "acme")
    assert conversation.received == 1


async def test_a_run_tells_what_it_did_and_what_it_cost(model):
    await model.given(
        WorkerRequested(run_id=WORKER, task="build", parent=TURN, interactive=True), turn=TURN
    )
    stream = GENERAL.of("worker", WORKER)
    call = ToolCall(id="c1", name="shell", arguments="{}")
    await model.given(
        RunStarted(run_id=WORKER, kind="worker", owner="w", task="build", model="offline/rules"),
        ModelCalled(run_id=WORKER, step=1, model="a/b", prompt=SHA, tools=SHA, request=SHA),
        ModelReturned(
            run_id=WORKER,
            step=1,
            model="a/c",
            tool_calls=(call,),
            usage=Usage(input=10, output=2, cached=4, cost_usd=0.5),
            latency_ms=30,
        ),
        ToolCalled(run_id=WORKER, call_id="c1", name="shell"),
        ToolReturned(run_id=WORKER, call_id="c1", name="shell", status="error", duration_ms=9),
        StatusSet(run_id=WORKER, status="half way"),
        ModelCalled(run_id=WORKER, step=2, model="a/b", prompt=SHA, tools=SHA, request=SHA),
        ModelFailed(run_id=WORKER, step=2, reason="overflow", detail="too long"),
        subject=stream,
        turn=TURN,
    )
    async with model.reading() as conn:
        run = await runs.one(conn, "acme", WORKER)
        assert run is not None
        assert (run.kind, run.state, run.parent, run.turn) == ("worker", "running", TURN, TURN)
        assert (run.task, run.status, run.interactive, run.owner) == (
            "build",
            "half way",
            True,
            "w",
        )
        assert (run.requested_at, run.started_at, run.last_seq) == (1_000, 2_000, 9)
        assert (run.model_calls, run.tool_calls) == (2, 1)
        assert (run.input_tokens, run.output_tokens, run.cached_tokens) == (10, 2, 4)
        assert run.cost_usd == 0.5
        steps = await runs.steps(conn, "acme", WORKER)
        assert [(s.kind, s.ref, s.status, s.name, s.duration_ms) for s in steps] == [
            ("model", "1", "ok", "a/c", 30),
            ("tool", "c1", "error", "shell", 9),
            ("model", "2", "overflow", "a/b", None),
        ]
        assert (steps[0].tools, steps[0].started_at, steps[0].ended_at) == (
            ("shell",),
            3_000,
            4_000,
        )
        assert steps[2].detail == "too long"
        assert [s.ref for s in await runs.steps(conn, "acme", WORKER, after=3, limit=1)] == ["c1"]
        assert await runs.one(conn, "acme", "none") is None


async def test_a_turn_is_a_run_of_its_conversation(model):
    await model.given(
        TurnStarted(turn_id=TURN, owner="a"),
        TurnResumed(turn_id=TURN, owner="b", attempt=2),
        BranchRequested(run_id=BRANCH, task="think", forked_at=EventId("e1")),
        TurnCompleted(turn_id=TURN, handled=(), outcome="skipped", reason="not for me"),
        turn=TURN,
    )
    async with model.reading() as conn:
        branch, turn = await runs.of_conversation(conn, GENERAL)
        assert (turn.kind, turn.owner, turn.attempts, turn.state) == ("turn", "b", 2, "ended")
        assert (turn.outcome, turn.answer, turn.reason) == ("succeeded", "skipped", "not for me")
        assert (branch.kind, branch.state, branch.task) == ("branch", "requested", "think")
        assert [r.run_id for r in await runs.of_turn(conn, GENERAL, TURN)] == [TURN, BRANCH]
        assert [r.run_id for r in await runs.listing(conn, "acme", active=True)] == [BRANCH]
        assert [r.run_id for r in await runs.listing(conn, "acme", kind="turn")] == [TURN]
        assert [r.run_id for r in await runs.of_conversation(conn, GENERAL, before=3)] == [TURN]


@pytest.mark.parametrize(
    ("kind", "requested", "concluded"),
    [
        (
            "branch",
            BranchRequested(run_id=BRANCH, task="x", forked_at=EventId("e1")),
            BranchConcluded(run_id=BRANCH, outcome="partial", conclusion="this"),
        ),
        (
            "worker",
            WorkerRequested(run_id=BRANCH, task="x"),
            WorkerConcluded(run_id=BRANCH, outcome="partial", result="this"),
        ),
    ],
)
async def test_a_run_ends_and_then_its_conversation_is_told(model, kind, requested, concluded):
    await model.given(requested)
    await model.given(
        RunStarted(run_id=BRANCH, kind=kind, owner="a"),
        RunEnded(run_id=BRANCH, outcome="partial", result="this", reason="limit"),
        subject=GENERAL.of(kind, BRANCH),
    )
    async with model.reading() as conn:
        run = await runs.one(conn, "acme", BRANCH)
        assert run is not None
        assert (run.state, run.outcome, run.result, run.reason, run.concluded_at) == (
            "ended",
            "partial",
            "this",
            "limit",
            None,
        )
    await model.given(concluded)
    async with model.reading() as conn:
        run = await runs.one(conn, "acme", BRANCH)
        assert run is not None
        assert (run.ended_at, run.concluded_at) == (3_000, 4_000)


async def test_stalled_runs_are_those_that_should_move(model):
    """Not concluded, not waiting, quiet for long; of every tenant."""
    await model.given(WorkerRequested(run_id=WORKER, task="x"))
    await model.given(TurnStarted(turn_id=TURN, owner="a"), subject=GENERAL._replace(tenant="b"))
    await model.given(
        BranchRequested(run_id=BRANCH, task="x", forked_at=EventId("e1")),
        BranchConcluded(run_id=BRANCH, outcome="succeeded", conclusion=""),
        CancelRequested(run_id=RunId("nobody-knows")),
        TurnStarted(turn_id=RunId("t-2"), owner="a"),
    )

    async def stalled(before_at=6_000):
        async with using(model.pool) as conn:
            return [run.run_id for run in await runs.stalled(conn, before_at=before_at)]

    assert await stalled() == [WORKER, TURN]
    assert await stalled(before_at=10_000) == [WORKER, TURN, "t-2"]
    stream = GENERAL.of("worker", WORKER)
    await model.given(
        RunStarted(run_id=WORKER, kind="worker", owner="w"),
        RunWaiting(run_id=WORKER, result="first"),
        subject=stream,
    )
    await model.given(WorkerReported(run_id=WORKER, result="first"))
    assert WORKER not in await stalled(before_at=20_000)
    await model.given(InputRouted(run_id=WORKER, text="go on"))
    assert WORKER in await stalled(before_at=20_000)
    await model.given(RunResumed(run_id=WORKER, owner="v", attempt=2), subject=stream)
    async with model.reading() as conn:
        run = await runs.one(conn, "acme", WORKER)
    assert run is not None
    assert (run.state, run.owner, run.attempts, run.result) == ("running", "v", 2, "first")


async def test_the_last_definition_of_an_agent_counts(model):
    config = Subject("acme", entity="config")
    atlas = AgentId("atlas")
    await model.given(
        AgentDefined(agent=atlas, name="Atlas", instructions="be kind", model="a/b"),
        AgentDefined(agent=atlas, name="Atlas 2"),
        AgentDefined(agent=AgentId("bo"), name="Bo"),
        AgentRetired(agent=AgentId("bo")),
        AgentRetired(agent=AgentId("never-defined")),
        subject=config,
    )
    async with model.reading() as conn:
        (agent,) = await agents.listing(conn, "acme")
        assert (agent.name, agent.instructions, agent.model) == ("Atlas 2", "", None)
        assert [a.agent for a in await agents.listing(conn, "acme", retired=True)] == [
            "atlas",
            "bo",
        ]
        retired = await agents.one(conn, "acme", "bo")
        assert retired is not None
        assert retired.retired
    await model.given(AgentDefined(agent=AgentId("bo"), name="Bo"), subject=config)
    async with model.reading() as conn:
        assert [a.agent for a in await agents.listing(conn, "acme")] == ["atlas", "bo"]


async def test_dead_letters_are_open_until_someone_retries_them(model):
    parked = DeliveryParked(durable="worker", subject=str(GENERAL), seq=7, reason="bug", attempts=8)
    await model.given(parked, subject=GENERAL.of("dead"))
    await model.given(TurnFailed(turn_id=TURN, handled=(), reason="no model", attempts=5))
    async with model.reading() as conn:
        turn, delivery = await dead_letters.listing(conn, "acme")
    assert (turn.ref, turn.kind, turn.reason, turn.attempts) == ("turn:t-1", "turn", "no model", 5)
    assert (delivery.ref, delivery.kind, delivery.event_seq) == ("delivery:worker:7", "delivery", 7)
    await model.given(RetryRequested(turn_id=TURN))
    await model.given(
        DeliveryRetried(durable="worker", subject=str(GENERAL), seq=7), subject=GENERAL.of("dead")
    )
    async with model.reading() as conn:
        assert await dead_letters.listing(conn, "acme") == []
        assert [d.ref for d in await dead_letters.listing(conn, "acme", retried=True)] == [
            "delivery:worker:7",
            "turn:t-1",
        ]
    await model.given(parked, subject=GENERAL.of("dead"))
    async with model.reading() as conn:
        (again,) = await dead_letters.listing(conn, "acme")
        assert again == await dead_letters.one(conn, "acme", "delivery:worker:7")
    assert (again.parked_at, again.retried_at) == (5_000, 4_000)


async def test_a_forgotten_memory_is_kept_but_not_listed(model):
    subject = Subject("acme", "atlas", entity="memory")
    saved = MemorySaved(memory_id=MemoryId("m"), kind="fact", text="x", importance=0.5)
    await model.given(
        saved, MemoryForgotten(memory_id=MemoryId("m"), reason="wrong"), subject=subject
    )
    async with model.reading() as conn:
        assert await memories.listing(conn, "acme", "atlas") == []
        (memory,) = await memories.listing(conn, "acme", "atlas", forgotten=True)
        assert memory == await memories.by_id(conn, "acme", "atlas", "m")
    assert (memory.text, memory.forgotten_at, memory.forgotten_why) == ("x", 2_000, "wrong")


def saved(memory_id, text="x", **fields):
    fields = {"kind": "fact", "importance": 0.5, **fields}
    return MemorySaved(memory_id=MemoryId(memory_id), text=text, **fields)


async def test_a_replaced_memory_is_history_and_says_by_what_and_why(model):
    replaced = (Replaced(memory_id=MemoryId("old"), why="contradiction"),)
    await model.given(saved("old", "Thursday"), subject=MEMORY)
    await model.given(saved("new", "Friday", replaces=replaced, valid_from=77), subject=MEMORY)
    await model.given(saved("third", "Monday", replaces=replaced), subject=MEMORY)
    async with model.reading() as conn:
        assert [m.memory_id for m in await memories.listing(conn, "acme", "atlas")] == [
            "third",
            "new",
        ]
        history = await memories.listing(conn, "acme", "atlas", replaced=True)
        assert [m.memory_id for m in history] == ["third", "new", "old"]
        old = history[-1]
        assert old == await memories.by_id(conn, "acme", "atlas", "old")
        assert "Thursday" not in {
            m.text for m in await memories.recall(conn, "acme", "atlas", mode="recent")
        }
    assert (old.valid_from, old.valid_to) == (1_000, 77)
    assert (old.replaced_by, old.replaced_why) == ("new", "contradiction")


async def test_another_agents_memory_can_be_replaced(model):
    """Memories of the whole tenant are seen, and so corrected, by every agent of it."""
    other = MEMORY._replace(agent="bo")
    await model.given(saved("old", "Thursday", scope="tenant"), subject=other)
    replaced = (Replaced(memory_id=MemoryId("old"), why="correction"),)
    await model.given(saved("new", "Friday", replaces=replaced, scope="tenant"), subject=MEMORY)
    async with model.reading() as conn:
        found = await memories.recall(conn, "acme", "bo", mode="recent")
        assert [m.text for m in found] == ["Friday"]
        old = await memories.by_id(conn, "acme", "bo", "old")
    assert old is not None
    assert old.replaced_by == "new"


async def test_what_is_said_again_and_what_is_recalled_is_counted_once_an_event(model):
    returned = ToolReturned(
        run_id=BRANCH,
        call_id="s1c0",
        name="memory_recall",
        recalled=(MemoryId("m"), MemoryId("n")),
    )
    branch = GENERAL.of("branch", BRANCH)
    await model.given(saved("m"), saved("n"), subject=MEMORY)
    await model.given(returned, returned, subject=branch, id=EventId("same"))
    await model.given(returned, subject=branch)
    await model.given(MemoryTouched(memory_id=MemoryId("m"), person="portal:ana"), subject=MEMORY)
    await model.given(returned, subject=branch, id=EventId("same"))
    async with model.reading() as conn:
        n, m = await memories.listing(conn, "acme", "atlas")
    assert (m.touches, m.touched_at, m.recalls, m.recalled_at) == (1, 6_000, 2, 5_000)
    assert (n.touches, n.touched_at, n.recalls, n.recalled_at) == (0, None, 2, 5_000)


async def test_a_link_is_one_edge_with_its_latest_weight(model):
    m, n = MemoryId("m"), MemoryId("n")
    await model.given(
        MemoryLinked(memory_id=m, to=n, relation="part_of", weight=0.3),
        MemoryLinked(memory_id=m, to=n),
        MemoryLinked(memory_id=m, to=n, relation="part_of", weight=0.9),
        subject=MEMORY,
    )
    async with model.reading() as conn:
        found = await memories.edges(conn, "acme", [n])
        assert found == await memories.edges(conn, "acme", [m, n])
        assert await memories.edges(conn, "acme", ["x"]) == []
    assert [(e.memory_id, e.to_id, e.relation, e.weight) for e in found] == [
        (m, n, "part_of", 0.9),
        (m, n, "related_to", 0.5),
    ]
    assert (found[0].seq, found[0].linked_at) == (1, 3_000)
    async with model.reading("globex") as conn:
        assert await memories.edges(conn, "acme", [m]) == []


async def test_the_archive_finds_what_belongs_together(model):
    stream = GENERAL.of("worker", WORKER)
    near = GENERAL._replace(conversation="general2")
    await model.given(said(), TurnStarted(turn_id=TURN, owner="a"), turn=TURN)
    await model.given(
        RunStarted(run_id=WORKER, kind="worker", owner="w"), subject=stream, turn=TURN
    )
    await model.given(said(), subject=near)
    async with model.reading() as conn:
        of_conversation = await archive.of_conversation(conn, GENERAL)
        assert [event.seq for event in of_conversation] == [1, 2, 3]
        assert [e.body for e in of_conversation] == [e.body for e in model.events[:3]]
        assert [event.seq for event in await archive.of_turn(conn, "acme", TURN)] == [1, 2, 3]
        found = await archive.by_id(conn, "acme", EventId("e4"))
        assert found is not None
        assert found.subject == str(near)
        assert await archive.by_id(conn, "acme", EventId("none")) is None
        assert len(await trace(conn, GENERAL)) == 3
        assert len(await trace(conn, near, turn=TURN)) == 3


async def test_an_event_on_a_foreign_subject_is_archived_for_no_tenant(model):
    foreign = record(1, "evt.nothing.of.ours", model_body())
    async with model.pool.connection() as conn:
        await BY_NAME["archive"].apply(conn, [foreign])
    async with using(model.pool) as conn:
        assert [each.subject for each in await archive.after(conn, 0, until=1, limit=9)] == [
            "evt.nothing.of.ours"
        ]
    async with model.reading() as conn:
        assert await archive.by_id(conn, "acme", EventId("e1")) is None


def model_body():
    return encode(seal(said(), id=EventId("e1"), at=1, actor="test"))


@given(seed=st.integers(0, 2**32), cuts=st.sets(st.integers(1, 399), max_size=6))
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_where_batches_are_cut_makes_no_difference_to_rows(pool, seed, cuts):
    """Whatever the story; and taking part of it in again changes nothing."""
    events = Story(seed).tell(400)
    await _empty(pool)
    await project(pool, events)
    whole = await dump(pool)
    await _empty(pool)
    await project(pool, events, cuts=tuple(cuts))
    assert await dump(pool) == whole


async def _empty(pool):
    async with using(pool) as conn:
        tables = ", ".join(table for projection in PROJECTIONS for table in projection.tables)
        await conn.execute(f"TRUNCATE {tables}")
        await conn.execute("UPDATE projection_positions SET seq = 0")


def test_the_readers_role_is_named_once_on_each_side():
    assert READER == database.READER
