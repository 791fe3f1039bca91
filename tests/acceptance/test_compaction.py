"""A long conversation is compacted while people talk, and compactors are killed in the middle."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from schemas.channel import CheckpointCut, CompactionFailed, CompactionRequested
from schemas.run import RunResumed
from services.runtime import reading_back
from services.runtime.cancelling import end
from services.runtime.conversation import EVERYTHING, Conversation, evolve
from services.runtime.event_log import EventLog
from tests.support.chaos import TOKEN, Crowd, brain, settled, trail
from tests.support.fleet import in_room, installation
from tests.support.openai_server import OpenAIServer
from tests.support.scripts import Answer
from tests.support.servers import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

ROOM = "room-0"
MESSAGES = 500
KILLS = 3
AHEAD = 8  # messages that are said before the first of them is answered
ROOM_FOR = 175  # entries: at 160 a compaction begins, at 190 there is an emergency
SETTINGS = {
    "PENSTOCK_CHANNEL_HISTORY_ENTRIES": "100",
    "PENSTOCK_CHANNEL_ATTEMPTS": "100",
    "PENSTOCK_COMPACTOR_ROLLUP_AT": "5",
    "PENSTOCK_COMPACTOR_ROLLUP_OF": "3",
    "PENSTOCK_LOG_ACK_WAIT_S": "2",
    "PENSTOCK_MODEL": "openai/chaos",
    "OPENAI_API_KEY": "sk-not-a-secret",
}


class Mind:
    """Acknowledges every token, summarises slowly, and looks back when it is asked to."""

    def __init__(self):
        self.talks = brain(random.Random(7), slowest_s=0.05)  # noqa: S311 - repeatable
        self.summarising = asyncio.Queue()
        self.shown = []

    def __call__(self, body):
        names = {tool["function"]["name"] for tool in body.get("tools", [])}
        messages = [m for m in body["messages"] if m["role"] != "system"]
        if not names:
            self.summarising.put_nowait(None)
            tokens = TOKEN.findall(messages[-1]["content"])
            title = f"{tokens[0]} to {tokens[-1]}" if tokens else "summaries"
            return Answer(text=f"TITLE: {title}\nTold in short.", first_after_s=1.0)
        if "reply" in names:
            self.shown.append(messages)
            return self._looks_back(messages) or self.talks(body)
        found = [m["content"] for m in messages if m["role"] == "tool"]
        if not found:
            return Answer(tool_calls=(("checkpoint_expand", '{"number": 1}'),))
        return Answer(text=f"The first was {TOKEN.findall(found[0])[0]}.")

    def _looks_back(self, messages):
        said = " ".join(m.get("content") or "" for m in messages if m["role"] == "assistant")
        heard = [m.get("content") or "" for m in messages if m["role"] == "user"]
        if "[person] look back" in heard and "Looking." not in said:
            calls = (("branch", '{"task": "look back"}'), ("reply", '{"text": "Looking."}'))
            return Answer(tool_calls=calls)
        told = [text for text in heard if "The first was" in text]
        if told and "The first was" not in said:
            text = told[0].partition("\n")[2]
            return Answer(tool_calls=(("reply", f'{{"text": "{text}"}}'),))
        return None


@dataclass
class Patient(Crowd):
    """People who do not say too much before it is answered, nor before there is room for it."""

    log: EventLog | None = None
    state: Conversation = field(default_factory=Conversation)

    async def talk(self):
        reading = asyncio.create_task(self._read())
        try:
            await super().talk()
        finally:
            await end(reading)

    async def _read(self):
        async for recorded in self.log.tail(str(in_room(ROOM))):
            self.state = evolve(self.state, recorded, keep=EVERYTHING)

    async def _say(self, to, token):
        await until(self._is_time, timeout_s=150)
        await super()._say(to, token)

    async def _is_time(self):
        return len(self.state.unhandled) < AHEAD and len(self.state.entries) < ROOM_FOR


async def kill_amid_summaries(fleet, mind):
    """SIGKILL every compactor while it waits for a summary, and start them again."""
    compactors = [slot for slot in fleet.slots if slot.services == "compactor"]
    for _ in range(KILLS):
        while not mind.summarising.empty():
            mind.summarising.get_nowait()
        await mind.summarising.get()
        for slot in compactors:
            await fleet.kill(slot)


async def test_a_long_conversation_is_compacted_while_it_is_talked_in(
    empty_nats_url, database_url, tmp_path
):
    mind = Mind()
    replicas = {"channel": 1, "branch+projector": 1, "compactor": 2}
    async with (
        OpenAIServer(mind) as server,
        installation(
            empty_nats_url, database_url, tmp_path, replicas, **SETTINGS, OPENAI_API_BASE=server.url
        ) as running,
    ):
        people = Patient(running.intake, 1, MESSAGES, (0.0, 0.02), kinds="p", log=running.log)
        await asyncio.gather(people.talk(), kill_amid_summaries(running.fleet, mind))
        verdict = await settled(running.log, people.sent, timeout_s=120)
        lines = await trail(running.log, [*verdict.problems, *verdict.unsettled])
        (tmp_path / "trail.txt").write_text("\n".join(lines))
        assert (verdict.problems, verdict.unsettled) == ([], [])
        await running.say("look back", room=ROOM)
        await running.hears("The first was p-0-0.", room=ROOM, timeout_s=90)
        await until(lambda: _is_at_rest(running), timeout_s=60)
        events = await running.events(ROOM)
        chapters = await reading_back.chapters(running.log, in_room(ROOM))
        codes = await running.fleet.stop()
    assert codes == [0] * len(codes)
    assert running.fleet.kills["compactor"] == 2 * KILLS
    _check(events, chapters, people.sent[ROOM])
    assert mind.shown[-1][0]["content"].startswith("[checkpoints]")
    assert len(mind.shown[-1]) < 220


async def _is_at_rest(running):
    state = Conversation()
    async for recorded in running.log.read(str(in_room(ROOM)), fresh=True):
        state = evolve(state, recorded, keep=EVERYTHING)
    return state.turn is None and state.compaction is None


def _check(events, chapters, sent):
    asked = [r.event.run_id for r in events if isinstance(r.event, CompactionRequested)]
    ended = Counter(
        r.event.run_id
        for r in events
        if isinstance(r.event, CheckpointCut | CompactionFailed) and r.event.run_id
    )
    assert ended == Counter(asked)
    resumed = {r.event.run_id for r in events if isinstance(r.event, RunResumed)}
    assert resumed & set(asked), "no compaction was taken over"
    cuts = [r.event for r in events if isinstance(r.event, CheckpointCut)]
    print(Counter(cut.kind for cut in cuts), len(asked), "asked", len(resumed), "resumed")
    assert {"interval", "rollup"} <= {cut.kind for cut in cuts}
    # They are contiguous: the fold takes none that is not, and has taken all.
    state = Conversation()
    for recorded in events:
        if recorded.subject == str(in_room(ROOM)):
            state = evolve(state, recorded, keep=EVERYTHING)
    assert state.cuts == len(cuts) == len(chapters)
    # Behind them and in what is shown is everything that was said, once, in order.
    level_0 = [c for _, c in sorted(chapters.items()) if not c.checkpoint.sources]
    entries = [entry for chapter in level_0 for entry in chapter.entries] + list(state.entries)
    said = [entry.text for entry in entries if TOKEN.fullmatch(str(entry.text))]
    assert said == sent
    assert len(state.entries) < 200
