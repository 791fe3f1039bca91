"""Two conversations side by side, from the point where they part."""

import pytest

from schemas.channel import ReplySent
from schemas.subjects import FORK
from services.runtime.agents import Agents
from services.runtime.comparing import NothingShared, compare
from services.runtime.exchanges import exchanges
from services.runtime.forking import Fork, Forking, UnknownConversation
from tests.support.builders import (
    CONVERSATION,
    branch,
    caused_by,
    file_sent,
    message,
    persistence,
    reaction,
    reply,
    story,
    turn_completed,
    turn_failed,
    turn_started,
)
from tests.support.replicas import Deliveries, Shared
from tests.support.scripted_model import by_prompt, calls, does, says

THERE = CONVERSATION._replace(adapter=FORK, conversation="there")
BRAIN = by_prompt(
    {
        "[Ana] one": [says("to one")],
        "[Ana] two": [says("to two")],
        "[Ana] think": [does(calls("branch", task="think hard"), calls("reply", text="I think."))],
        "[task] think hard": [does(calls("checkpoint_list")), says("thought")],
        "[result of branch": [does(calls("reply", text="Thought."))],
    }
)


async def story_of(*texts) -> tuple[Shared, Deliveries]:
    shared = Shared(BRAIN)
    await shared.define()
    deliveries = Deliveries(shared)
    for text in texts:
        await shared.say(text)
        await deliveries.settle()
    return shared, deliveries


async def fork(shared, deliveries, of=CONVERSATION, **wanted) -> None:
    await Forking(shared.outside, shared.bodies, Agents(shared.log)).begin(
        of, Fork(**{"name": "there", **wanted})
    )
    await deliveries.settle()


async def side_by_side(shared, one=CONVERSATION, other=THERE, **options):
    return await compare(shared.log, shared.bodies, one, other, **options)


def texts(came):
    return None if came is None else ([it.text for it in came.asked], came.replies)


async def test_both_sides_begin_with_what_was_asked_where_they_part():
    shared, deliveries = await story_of("one", "two", "think")
    await fork(shared, deliveries, at="message 2", model="scripted/two", prompt="Be a poet.")
    found = await side_by_side(shared)
    asked = next(it for it in shared.log.events if getattr(it.event, "text", "") == "two")
    assert (found.parted.id, found.parted.seq) == (asked.envelope.id, asked.seq)
    assert [(texts(row.a), texts(row.b)) for row in found.rows] == [
        ((["two"], ["to two"]), (["two"], ["to two"])),
        ((["think"], ["I think.", "Thought."]), None),
    ]
    assert (found.a.conversation, found.a.model, found.a.prompt) == ("portal/general", None, False)
    assert (found.b.conversation, found.b.model, found.b.prompt) == (
        "fork/there",
        "scripted/two",
        True,
    )


async def test_an_exchange_has_its_branches_and_the_turns_that_tell_of_them():
    shared, deliveries = await story_of("one")
    await fork(shared, deliveries, message="think")
    (row,) = (await side_by_side(shared)).rows
    came = row.b
    assert row.a is None
    assert [(tool.name, tool.status) for tool in came.tools] == [
        ("branch", "ok"),
        ("reply", "ok"),
        ("checkpoint_list", "ok"),
        ("reply", "ok"),
    ]
    assert '"think hard"' in came.tools[0].arguments
    assert (came.models, came.model_calls) == (["scripted/one"], 4)
    assert (came.input_tokens, came.output_tokens) == (400, 40)
    assert came.outcome == "replied"
    assert came.took_ms is not None


async def test_what_a_side_came_to_is_summed_up():
    shared, deliveries = await story_of("one", "two")
    await fork(shared, deliveries, at="message 1", message="think")
    found = await side_by_side(shared)
    assert (found.a.total.exchanges, found.b.total.exchanges) == (2, 1)
    assert found.b.total.model_calls == 4
    assert found.b.total.tool_calls == 4
    assert found.b.total.tokens == 440
    assert found.b.total.cost_usd is None


async def test_two_forks_part_where_the_earlier_one_did():
    shared, deliveries = await story_of("one", "two")
    await fork(shared, deliveries, at="message 1")
    await fork(shared, deliveries, name="other", at="message 2", model="scripted/two")
    found = await side_by_side(shared, THERE, THERE._replace(conversation="other"))
    assert [(texts(row.a), texts(row.b)) for row in found.rows] == [
        ((["one"], ["to one"]), (["one"], ["to one"])),
        (None, (["two"], ["to two"])),
    ]
    assert found.b.model == "scripted/two"


async def test_only_so_many_rows_are_returned_and_the_others_counted():
    shared, deliveries = await story_of("one", "two", "think")
    await fork(shared, deliveries, at="message 1")
    found = await side_by_side(shared, most=1)
    assert (len(found.rows), found.left_out) == (1, 2)
    assert found.a.total.exchanges == 3


async def test_what_shares_nothing_or_is_not_there_is_not_compared():
    shared, deliveries = await story_of("one")
    other = CONVERSATION._replace(conversation="other")
    await shared.say("two", subject=other)
    await deliveries.settle()
    with pytest.raises(NothingShared, match="portal/general and portal/other"):
        await side_by_side(shared, other=other)
    for name in ("nowhere", "x" * 99):
        with pytest.raises(UnknownConversation):
            await side_by_side(shared, other=other._replace(conversation=name))


async def test_a_long_reply_is_read_from_the_store():
    shared, deliveries = await story_of("one")
    await fork(shared, deliveries, at="message 1")
    long = await shared.bodies.put(b"long " * 100)
    sent = ReplySent(turn_id=next(_turns(shared)), text=long)
    await shared.log.append(str(CONVERSATION), shared.outside.seal(sent))
    found = await side_by_side(shared)
    assert found.rows[0].a.replies[-1] == "long " * 100


def _turns(shared):
    return (it.event.turn_id for it in shared.log.events if it.envelope.type == "turn_started")


# -- exchanges --------------------------------------------------------------------------------


def of(*told, after=0):
    return exchanges(story(*told), after)


def test_what_nobody_has_answered_waits_once():
    (found,) = of(message("one"), message("one"), message("two", message_id="m2"))
    assert ([text for _, text in found.asked], found.outcome) == (["one", "two"], "waiting")
    assert found.took_ms is None


def test_an_open_turn_is_running_on_what_called_for_it():
    (found,) = of(message("one"), caused_by("e1", turn_started()))
    assert ([text for _, text in found.asked], found.outcome) == (["one"], "running")


def test_files_reactions_and_failures_are_told():
    done = (message(), turn_started(), file_sent(caption="here"), reaction("👍"), reply("sorry"))
    (found,) = of(*done, turn_failed("e1"))
    assert found.replies == ["[file plan.pdf] here", "[reacted with 👍]", "sorry"]
    assert found.outcome == "failed"


def test_what_was_shared_is_left_out_but_for_what_is_answered_later():
    talk = (message("one"), message("two", message_id="m2"), turn_started("t1"), reply("x"))
    (found,) = of(*talk, turn_completed("e1", "e2"), after=2)
    assert [text for _, text in found.asked] == ["one", "two"]


def test_persistence_is_nobodys_exchange():
    talk = (message(), turn_started(), turn_completed("e1"), persistence(), branch())
    (found,) = of(*talk)
    assert found.tools == []
