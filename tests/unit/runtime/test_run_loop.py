"""The durable loop: what was recorded is never done again, and what the model sees is exact."""

import asyncio
from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import given, strategies as st

from schemas.base import EventId
from schemas.run import (
    ContextTrimmed,
    ModelCalled,
    ModelFailed,
    ModelReturned,
    Noted,
    RunEnded,
    RunResumed,
    ToolCall,
    ToolReturned,
)
from services.errors import (
    ContextOverflow,
    Fenced,
    HandedBack,
    LogUnavailable,
    ModelRefused,
    ModelUnavailable,
    Permanent,
    Rejected,
)
from services.runtime import prompts, run_loop
from services.runtime.bodies import INLINE_BYTES
from services.runtime.journal import Journal
from services.runtime.live import changes
from services.runtime.model import Message
from services.runtime.run_decider import Finish, Wait
from services.runtime.run_loop import (
    FAILURE_BACKOFF_S,
    INTERRUPTED,
    RECORDED_CALLS_BYTES,
    Context,
    Equipment,
    RunLoop,
    _without_oldest,
)
from services.runtime.tool import Tool, ToolOutput
from services.runtime.writer import Writer
from tests.support.builders import BRANCH, RUN, TURN, WORKER, run_started
from tests.support.fake_clock import FakeClock
from tests.support.fake_live import FakeLive
from tests.support.fake_log import FakeBodies, FakeLog
from tests.support.scripted_model import ScriptedModel, calls, does, says

SUBJECT = f"evt.acme.atlas.portal.general.worker.{RUN}"
NOTE = "[status] It is noon."
BASE = Context("You work.", (Message(role="user", content="[task] do it"),), EventId("e7"), NOTE)


class Words(msgspec.Struct, frozen=True):
    text: str = "done"


@dataclass
class Bench:
    """Everything that a run needs, and tools that keep count."""

    model: ScriptedModel
    log: FakeLog = field(default_factory=FakeLog)
    bodies: FakeBodies = field(default_factory=FakeBodies)
    live: FakeLive = field(default_factory=FakeLive)
    clock: FakeClock = field(default_factory=FakeClock)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    ran: list[str] = field(default_factory=list)
    fails: Exception | None = None
    context: Context = BASE

    def equipment(self, **changes) -> Equipment:
        return Equipment(
            bodies=self.bodies,
            model=self.model,
            live=self.live,
            clock=self.clock,
            stopping=self.stopping,
            **changes,
        )

    async def say(self, scope, key, words: Words) -> ToolOutput:
        self.ran.append(f"{key}: {words.text}")
        if self.fails is not None:
            raise self.fails
        return ToolOutput(words.text)

    async def journal(self, owner="one", *, holder="e1") -> Journal:
        """Return the run in the hands of an owner, taken over when it has one."""
        writer = Writer(self.log, self.clock, "worker")
        journal = Journal(writer, self.bodies, SUBJECT, RUN, owner=owner)
        state = await journal.load()
        if state.started is None:
            await journal.start(run_started(owner=owner), holder=EventId(holder))
        else:
            await journal.resume(holder=EventId(holder))
        return journal

    async def loop(self, profile=WORKER, *, journal=None, **changes) -> RunLoop:
        async def context() -> Context:
            return self.context

        tools = [
            Tool("once", "Do it.", Words, self.say),
            Tool("again", "Do it.", Words, self.say, repeatable=True),
        ]
        return RunLoop(
            journal or await self.journal(),
            profile,
            self.equipment(**changes),
            model="scripted/one",
            tools=tools,
            scope=None,
            context=context,
        )

    async def drive(self, profile=BRANCH, **changes) -> Finish | Wait:
        return await (await self.loop(profile, **changes)).drive()

    def events(self, kind):
        return [r.event for r in self.log.events if isinstance(r.event, kind)]

    def append(self, event) -> None:
        """Let somebody else append, at once."""
        last = self.log._last_seq(SUBJECT)
        writer = Writer(self.log, self.clock, "other")
        storing = self.log.append_if(SUBJECT, last, writer.seal(event, cause=EventId("e9")))
        while True:
            try:
                storing.send(None)
            except StopIteration:
                return


# -- asking -----------------------------------------------------------------------------------


async def test_a_model_is_shown_prompt_history_note_and_then_what_it_did():
    bench = Bench(ScriptedModel(says("I look.", calls("once", text="found")), says("Known.")))
    assert await bench.drive() == Finish("succeeded", "Known.")
    first, second = (request.messages for request in bench.model.requests)
    assert [(m.role, m.content) for m in first] == [
        ("system", "You work."),
        ("user", "[task] do it"),
        ("user", NOTE),
    ]
    assert second[:3] == first
    assert [(m.role, m.content, m.tool_call_id) for m in second[3:]] == [
        ("assistant", "I look.", None),
        ("tool", "found", "s1c0"),
    ]
    assert [call.id for call in second[3].tool_calls] == ["s1c0"]


async def test_a_call_is_recorded_with_what_proves_the_request():
    bench = Bench(ScriptedModel(says("Known.")))
    await bench.drive()
    (called,) = bench.events(ModelCalled)
    (request,) = bench.model.requests
    assert bench.bodies.bodies[called.prompt] == b"You work."
    assert bench.bodies.bodies[called.tools] == prompts.tools_text(request.tools).encode()
    assert called.request == prompts.digest(msgspec.json.encode(request).decode())
    assert (called.context, called.note, called.model) == ("e7", NOTE, "scripted/one")


async def test_prompts_are_kept_once_and_the_transcript_never():
    script = [does(calls("again", text=f"{n}" * 5_000)) for n in range(9)]
    bench = Bench(ScriptedModel(*script, says("Known.")))
    await bench.drive()
    assert len(bench.bodies.bodies) == 2
    stored = sum(len(recorded.body) for recorded in bench.log.events)
    assert stored < 9 * (2 * 5_000 + 2_500)


async def test_only_the_first_call_records_context_and_note():
    bench = Bench(ScriptedModel(does(calls("again")), says("Known.")))
    await bench.drive()
    assert [(called.context, called.note) for called in bench.events(ModelCalled)] == [
        ("e7", NOTE),
        (None, ""),
    ]


async def dies(scope, key, words):
    raise asyncio.CancelledError


async def killed_in(bench, name) -> None:
    """Drive a run until its process dies in a tool."""
    loop = await bench.loop(BRANCH)
    loop._tools = {name: Tool(name, "Do it.", Words, dies)}
    with pytest.raises(asyncio.CancelledError):
        await loop.drive()


async def test_a_takeover_shows_the_first_note_again_whatever_the_time_is():
    bench = Bench(ScriptedModel(does(calls("again")), says("Known.")))
    await killed_in(bench, "again")
    bench.context = replace(BASE, note="[status] It is midnight.")
    await bench.drive(journal=await bench.journal("two"))
    first, second = bench.model.requests
    assert second.messages[: len(first.messages)] == first.messages


async def test_long_answers_and_notes_are_kept_by_reference_and_shown_whole():
    long = "x" * (INLINE_BYTES + 1)
    bench = Bench(ScriptedModel(says(long, calls("again")), says("Known.")))
    bench.context = replace(BASE, note=f"[status] {long}")
    await bench.drive()
    assert bench.events(ModelReturned)[0].text.bytes == len(long)
    assert [m.content for m in bench.model.requests[1].messages[2:4]] == [f"[status] {long}", long]


async def test_large_calls_are_kept_by_reference_and_run_all_the_same():
    long = "x" * RECORDED_CALLS_BYTES
    bench = Bench(ScriptedModel(does(calls("once", text=long)), says("Known.")))
    await bench.drive()
    returned = bench.events(ModelReturned)[0]
    assert (returned.tool_calls, returned.tool_calls_body.media_type) == ((), "application/json")
    assert bench.ran == [f"{RUN}/s1c0: {long}"]
    assert long in bench.model.requests[1].messages[3].tool_calls[0].arguments


async def test_what_no_store_accepts_is_cleaned_out_of_answers():
    bench = Bench(ScriptedModel(says("a\x00b\ud800", calls("on\x00ce")), says("Known.")))
    await bench.drive()
    returned = bench.events(ModelReturned)[0]
    assert (returned.text, returned.tool_calls[0].name) == ("a\u2400b\ufffd", "on\u2400ce")


async def test_the_answers_usage_and_model_are_recorded():
    answer = replace(says("Known."), model="scripted/other", latency_ms=7)
    bench = Bench(ScriptedModel(answer))
    await bench.drive()
    (returned,) = bench.events(ModelReturned)
    assert (returned.model, returned.usage, returned.latency_ms) == (
        "scripted/other",
        answer.usage,
        7,
    )


# -- tools ------------------------------------------------------------------------------------


async def test_a_tool_is_run_with_a_key_that_is_the_same_at_every_try():
    bench = Bench(ScriptedModel(does(calls("once"), calls("again", text="two")), says("Known.")))
    await bench.drive()
    assert bench.ran == [f"{RUN}/s1c0: done", f"{RUN}/s1c1: two"]


@pytest.mark.parametrize(
    ("failure", "status", "shown"),
    [
        pytest.param(Rejected("not allowed"), "refused", "Refused: not allowed", id="rejected"),
        pytest.param(Permanent("gone"), "error", "Error: Permanent: gone", id="permanent"),
        pytest.param(OSError("disk"), "error", "Error: OSError: disk", id="the system"),
        pytest.param(
            LogUnavailable("away"), "error", "Error: not available at the moment: away", id="away"
        ),
        pytest.param(
            ZeroDivisionError("x"), "error", "Error: the tool failed: ZeroDivisionError", id="a bug"
        ),
    ],
)
async def test_what_goes_wrong_in_a_tool_is_shown_to_the_model(failure, status, shown):
    bench = Bench(ScriptedModel(does(calls("once")), says("Known.")), fails=failure)
    await bench.drive()
    (returned,) = bench.events(ToolReturned)
    assert (returned.status, returned.output) == (status, shown)


async def test_a_tool_that_is_fenced_ends_the_run():
    bench = Bench(ScriptedModel(does(calls("once"))), fails=Fenced("not ours"))
    with pytest.raises(Fenced):
        await bench.drive()


async def test_arguments_that_cannot_be_read_are_answered_without_running_the_tool():
    broken = msgspec.structs.replace(calls("once"), arguments='{"text": "half')
    bench = Bench(ScriptedModel(does(broken), says("Known.")))
    await bench.drive()
    (returned,) = bench.events(ToolReturned)
    assert (bench.ran, returned.status) == ([], "error")


async def test_an_unknown_tool_is_answered_with_those_that_there_are():
    bench = Bench(ScriptedModel(does(calls("fly")), says("Known.")))
    await bench.drive()
    (returned,) = bench.events(ToolReturned)
    assert returned.status == "error"
    assert returned.output.endswith("there is no tool 'fly'; there are: once, again.")


async def test_a_long_result_is_cut_and_kept_whole_beside():
    long = "x" * 5_000
    bench = Bench(ScriptedModel(does(calls("once", text=long)), says("Known.")))
    await bench.drive(tool_output_bytes=1_000)
    (returned,) = bench.events(ToolReturned)
    assert len(returned.output) <= 1_000
    assert bench.bodies.bodies[returned.full.sha256] == long.encode()


async def test_a_repeated_call_is_warned_about_in_its_result_and_then_refused():
    script = [does(calls("again")) for _ in range(5)]
    bench = Bench(ScriptedModel(*script, says("Known.")))
    await bench.drive()
    results = bench.events(ToolReturned)
    assert results[1].output == "done"
    assert results[2].output.startswith("done\n\nNote: ")
    assert [result.status for result in results] == ["ok", "ok", "ok", "ok", "refused"]
    assert len(bench.ran) == 4


@pytest.mark.parametrize(
    ("name", "ran", "status", "output"),
    [
        pytest.param("once", 0, "interrupted", INTERRUPTED, id="not repeatable"),
        pytest.param("again", 1, "ok", "done", id="repeatable"),
    ],
)
async def test_a_tool_that_was_cut_short_is_resolved_by_its_policy(name, ran, status, output):
    bench = Bench(ScriptedModel(does(calls(name)), says("Known.")))
    await killed_in(bench, name)
    await bench.drive(journal=await bench.journal("two"))
    (returned,) = bench.events(ToolReturned)
    assert (len(bench.ran), returned.status, returned.output) == (ran, status, output)


async def test_a_worker_that_only_talks_is_told_so():
    bench = Bench(ScriptedModel(says("I would…"), does(calls("again")), *[says("Well.")] * 3))
    assert (await bench.drive(WORKER)).outcome == "partial"
    (nudge, *_) = bench.events(Noted)
    assert bench.model.requests[1].messages[-1].content == nudge.text


# -- failures of the model --------------------------------------------------------------------


async def test_a_model_that_is_away_is_asked_later_and_later_again():
    away = ModelUnavailable("busy")
    bench = Bench(ScriptedModel(away, away, says("Known.")))
    assert await bench.drive() == Finish("succeeded", "Known.")
    assert bench.clock.slept == [FAILURE_BACKOFF_S, 2 * FAILURE_BACKOFF_S]
    assert [failed.reason for failed in bench.events(ModelFailed)] == ["unavailable"] * 2


async def test_a_turn_is_not_held_up_by_a_model_that_is_away():
    bench = Bench(ScriptedModel(ModelUnavailable("busy")))
    assert await bench.drive(TURN) == Finish("failed", "", "busy")
    assert bench.clock.slept == []


async def test_a_request_that_is_refused_ends_the_run():
    bench = Bench(ScriptedModel(ModelRefused("bad key")))
    assert await bench.drive() == Finish("failed", "", "bad key")


async def test_a_long_reason_is_cut():
    bench = Bench(ScriptedModel(ModelRefused("x" * 5_000)))
    await bench.drive()
    assert len(bench.events(ModelFailed)[0].detail) == 1_000


# -- overflow ---------------------------------------------------------------------------------


def history(count):
    told = [Message(role="user", content=f"[Ana] {number}") for number in range(count)]
    return (*told, Message(role="user", content="[task] do it"))


async def test_an_overflow_leaves_out_the_older_half_and_asks_again():
    bench = Bench(ScriptedModel(ContextOverflow("too large"), says("Known.")))
    bench.context = replace(BASE, history=history(9))
    assert await bench.drive() == Finish("succeeded", "Known.")
    shown = [message.content for message in bench.model.requests[1].messages]
    assert shown == [
        "You work.",
        "[earlier messages are left out here]",
        *[f"[Ana] {number}" for number in range(5, 9)],
        "[task] do it",
        NOTE,
    ]


async def test_however_much_is_left_out_the_task_and_the_note_stay():
    steps = [does(calls("again", text=f"{number}")) for number in range(6)]
    overflows = [ContextOverflow("too large")] * 2
    bench = Bench(ScriptedModel(*steps, *overflows, says("Known.")))
    assert await bench.drive() == Finish("succeeded", "Known.")
    shown = [message.content for message in bench.model.requests[-1].messages]
    assert shown[:4] == [
        "You work.",
        "[earlier messages are left out here]",
        "[task] do it",
        NOTE,
    ]
    assert len(bench.events(ContextTrimmed)) == 2


@pytest.mark.parametrize("results", range(1, 8))
async def test_no_result_is_shown_without_its_call(results):
    some = [calls("again", text=f"{number}") for number in range(results)]
    overflows = [ContextOverflow("too large")] * 2
    bench = Bench(ScriptedModel(does(*some), does(*some), *overflows, says("Known.")))
    profile = replace(BRANCH, guard=replace(BRANCH.guard, warn_same_outcome=99))
    assert (await bench.drive(profile)).outcome == "succeeded"
    for request in bench.model.requests:
        asked = {call.id for message in request.messages for call in message.tool_calls}
        answered = {m.tool_call_id for m in request.messages if m.role == "tool"}
        assert answered <= asked
        assert request.messages[-1].role != "assistant"


async def test_the_checkpoints_of_a_conversation_stay_whatever_is_left_out():
    checkpoints = Message(role="user", content="[checkpoints] What was said here before, …")
    bench = Bench(ScriptedModel(*[ContextOverflow("too large")] * 2, says("Known.")))
    bench.context = replace(BASE, history=(checkpoints, *history(9)))
    assert await bench.drive() == Finish("succeeded", "Known.")
    shown = [message.content for message in bench.model.requests[-1].messages]
    assert shown[:3] == [
        *("You work.", checkpoints.content, "[earlier messages are left out here]"),
    ]
    assert shown[-2:] == ["[task] do it", NOTE]
    assert len(shown) < 10


@given(
    steps=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    told=st.integers(1, 5),
    dropped=st.integers(1, 60),
)
def test_wherever_a_transcript_is_cut_calls_and_results_stay_together(steps, told, dropped):
    shown = [Message(role="user", content=f"[Ana] {number}") for number in range(told)]
    kept = range(told - 1, told + 1)
    shown.append(Message(role="user", content=NOTE))
    for step, results in enumerate(steps):
        asked = tuple(ToolCall(id=f"s{step}c{n}", name="a", arguments="") for n in range(results))
        shown.append(Message(role="assistant", content="", tool_calls=asked))
        shown += [Message(role="tool", tool_call_id=call.id) for call in asked]
    rest = _without_oldest(shown, dropped, kept)
    calls_left = [call.id for message in rest for call in message.tool_calls]
    assert calls_left == [message.tool_call_id for message in rest if message.role == "tool"]
    assert rest[1:3] == [shown[told - 1], shown[told]] or dropped < told
    assert rest[-1] == shown[-1]


async def test_what_never_fits_ends_the_run():
    bench = Bench(ScriptedModel(*[ContextOverflow("too large")] * 3))
    end = await bench.drive()
    assert end == Finish("failed", "", "the conversation does not fit into the model")


async def test_a_context_that_would_not_fit_is_cut_before_it_is_sent():
    bench = Bench(ScriptedModel(says("Known.")))
    told = [Message(role="user", content="x" * 400) for _ in range(20)]
    bench.context = replace(BASE, history=(*told, Message(role="user", content="[task] do it")))
    assert (await bench.drive(context_window_tokens=1_000)).outcome == "succeeded"
    (request,) = bench.model.requests
    assert sum(len(message.content) for message in request.messages) < 1_000 * 4
    assert request.messages[-2].content == "[task] do it"


async def test_a_context_in_which_nothing_is_left_to_cut_is_sent_as_it_is():
    many = [calls("again", text=f"{number}" * 400) for number in range(9)]
    bench = Bench(ScriptedModel(does(*many), says("Known.")))
    async with asyncio.timeout(10):
        assert (await bench.drive(context_window_tokens=100)).outcome == "succeeded"
    assert len(bench.model.requests[-1].messages) == 1 + 1 + 2 + 1 + 9


# -- being watched ----------------------------------------------------------------------------


class Slow(ScriptedModel):
    """A model that thinks until it is cancelled, and says when it begins."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.given_up = False

    async def complete(self, request, on_delta=None):
        self.requests.append(request)
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(RunEnded(run_id=RUN, outcome="cancelled"), id="it was stopped"),
        pytest.param(RunResumed(run_id=RUN, owner="two", attempt=2), id="it was taken over"),
    ],
)
async def test_an_owner_stops_amid_a_step_when_the_run_is_no_longer_its_own(event):
    bench = Bench(Slow())
    driving = asyncio.create_task(bench.drive())
    async with asyncio.timeout(5):
        await bench.model.asked.wait()
        bench.append(event)
        await bench.live.publish(changes(RUN), b"")
        with pytest.raises(Fenced):
            await driving
    assert bench.model.given_up


async def test_an_owner_goes_on_when_it_only_got_input():
    bench = Bench(Slow())
    driving = asyncio.create_task(bench.drive())
    async with asyncio.timeout(5):
        await bench.model.asked.wait()
        bench.append(Noted(run_id=RUN, kind="limit", text="look"))
        await bench.live.publish(changes(RUN), b"")
        for _ in range(20):
            await asyncio.sleep(0)
        assert not bench.model.given_up
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)


async def test_a_step_that_takes_too_long_ends_the_run():
    bench = Bench(Slow())
    assert await bench.drive(step_s=0.05) == Finish(
        "timed_out", "", "nothing came of a step within 0.05 s"
    )
    assert bench.model.given_up


async def test_a_process_that_stops_hands_the_run_back_between_two_steps():
    bench = Bench(ScriptedModel(does(calls("again"))))
    loop = await bench.loop(BRANCH)
    bench.log.before_append = lambda _: bench.stopping.set() if bench.ran else None
    with pytest.raises(HandedBack, match="step 1"):
        await loop.drive()
    assert [returned.status for returned in bench.events(ToolReturned)] == ["ok"]
    bench.log.before_append = None
    bench.stopping.clear()
    bench.model.queued.append(says("Known."))
    assert await bench.drive(journal=await bench.journal("two")) == Finish("succeeded", "Known.")
    assert len(bench.ran) == 1


async def test_nobody_listens_any_more_once_a_run_is_over():
    bench = Bench(ScriptedModel(says("Known.")))
    await bench.drive()
    assert not await bench.live.anyone(changes(RUN))


async def test_a_watch_that_breaks_stops_the_run_and_not_the_same_call_again_and_again(monkeypatch):
    class Broken(FakeLive):
        async def listen(self, subject):
            raise ZeroDivisionError
            yield b""

    monkeypatch.setattr(run_loop, "WATCH_AFTER_S", 0.0)
    monkeypatch.setattr(run_loop, "WATCH_S", 0.01)
    bench = Bench(Slow(), live=Broken())
    async with asyncio.timeout(5):
        with pytest.raises(ZeroDivisionError):
            await bench.drive()
    assert len(bench.model.requests) <= 1
