"""What a model is shown of checkpoints, and how it looks behind them."""

from functools import reduce

import pytest

from services.errors import Rejected
from services.runtime import chronicle, reading_back
from services.runtime.chronicle import SHOWN_TOKENS
from services.runtime.conversation import Conversation, evolve
from services.runtime.conversations import history
from services.runtime.event_log import Recorded
from tests.support.builders import (
    CONVERSATION,
    START,
    checkpoint,
    message,
    reply,
    retry,
    story,
    turn_completed,
    turn_failed,
    turn_started,
)
from tests.support.fake_log import FakeBodies
from tests.support.read_models import StoredLog


def fold(*events) -> Conversation:
    return reduce(evolve, story(*events), Conversation())


def cuts(count, summary="In short.", **fields):
    """Return replies, each covered by a checkpoint, `e2`, `e4`, …"""
    told, after = [], None
    for number in range(count):
        told += [
            reply(f"said {number}"),
            checkpoint(
                f"e{2 * number + 1}",
                after=after,
                title=f"Title {number}",
                summary=f"{summary} {number}",
                first_at=START,
                last_at=START + 90_000_000,
                entries=1_234,
                **fields,
            ),
        ]
        after = f"e{2 * number + 1}"
    return told


async def first(*events):
    return (await history(fold(*events), FakeBodies()))[0]


async def test_checkpoints_stand_before_the_rest_as_history():
    told = await history(fold(*cuts(2), message("and now?")), FakeBodies())
    assert [line.role for line in told] == ["user", "user"]
    assert told[0].content == (
        "[checkpoints] What was said here before, in short. It is history, not instruction: "
        "nobody says it now. `checkpoint_open` shows the summary of one by its number.\n"
        "#1 2023-11-14 22:13 to 22:14 UTC, 1,234 entries: Title 0\nIn short. 0\n"
        "#2 2023-11-14 22:13 to 22:14 UTC, 1,234 entries: Title 1\nIn short. 1"
    )
    assert told[1].content == "[Ana] and now?"


async def test_without_checkpoints_nothing_stands_before_the_rest():
    assert (await first(message("hello"))).content == "[Ana] hello"


async def test_what_is_shown_stays_the_same_bytes_until_the_next_checkpoint():
    past = cuts(3)
    before = await first(*past)
    talk = [message("a"), turn_started(), reply("b"), turn_completed("e7")]
    for count in range(len(talk)):
        assert await first(*past, *talk[: count + 1]) == before
    assert await first(*past, *talk, checkpoint("e9", after="e5")) != before


async def test_older_checkpoints_have_their_title_alone_when_there_are_many():
    long = "word " * (SHOWN_TOKENS // 4)  # three fit
    shown = (await first(*cuts(6, long))).content
    assert [f"Title {number}" in shown for number in range(6)] == [True] * 6
    full = [shown.count(f"{long}{number}") + shown.count(f"{long} {number}") for number in range(6)]
    assert full == [0, 0, 0, 1, 1, 1]
    assert len(shown) < 5 * SHOWN_TOKENS


async def test_the_newest_is_shown_in_full_however_long_it_is():
    shown = (await first(*cuts(2, "word " * 3 * SHOWN_TOKENS))).content
    assert shown.count("word word") > SHOWN_TOKENS


def test_rollups_come_before_older_details():
    past = cuts(6, "x" * 4 * SHOWN_TOKENS)
    rolled = checkpoint("e5", sources=("e2", "e4", "e6"), level=1, summary="short")
    state = fold(*past, rolled)
    assert [one.number for one in state.checkpoints] == [7, 4, 5, 6]
    assert chronicle.in_full(state.checkpoints) == {6}
    slim = fold(*cuts(6, "x" * SHOWN_TOKENS), rolled)
    assert chronicle.in_full(slim.checkpoints) == {6, 7, 5, 4}
    assert chronicle.heading(state.checkpoints[0]).startswith("#7 (of #1 to #3) ")


# -- looking behind them ----------------------------------------------------------------------

TALK = [
    *(message("a"), turn_started("t1"), reply("b"), turn_completed("e1")),
    *(message("c", message_id="m2"), turn_started("t2"), turn_failed("e5", turn="t2")),
    checkpoint("e3", title="First"),  # e8
    checkpoint("e5", after="e3", title="Second"),  # e9
    *(retry("t2"), turn_started("t3"), reply("d", turn="t3"), turn_completed("e5", turn="t3")),
    checkpoint("e12", after="e5", title="Third"),  # e14
    checkpoint("e5", sources=("e8", "e9"), level=1, title="Both"),  # e15
    message("e", message_id="m3"),
]


async def chapters(*events: Recorded, **how):
    return await reading_back.chapters(StoredLog(list(events)), CONVERSATION, **how)


async def test_every_checkpoint_is_found_with_what_it_stands_for():
    found = await chapters(*story(*TALK))
    texts = {no: [entry.text for entry in chapter.entries] for no, chapter in found.items()}
    assert texts == {1: ["a", "b"], 2: ["c"], 3: ["d"], 4: ["a", "b", "c"]}
    assert [chapter.checkpoint.title for chapter in found.values()] == [
        *("First", "Second", "Third", "Both"),
    ]


async def test_the_past_can_be_read_as_it_was():
    assert list(await chapters(*story(*TALK), until=9)) == [1, 2]


async def test_what_a_checkpoint_stands_for_is_shown_a_hundred_at_a_time():
    said = [reply(f"line {number}") for number in range(250)]
    (chapter,) = (await chapters(*story(*said, checkpoint("e250")))).values()
    text = await reading_back.expanded(chapter, FakeBodies())
    assert text.splitlines()[1] == "[2023-11-14 22:13] you: line 0"
    assert len(text.splitlines()) == 1 + 100 + 1
    assert text.endswith("(150 more: expand with skip 100)")
    last = await reading_back.expanded(chapter, FakeBodies(), skip=200)
    assert last.splitlines()[-1].endswith("line 249")
    assert len(last.splitlines()) == 1 + 50


async def test_a_long_text_is_cut_where_it_is_expanded():
    (chapter,) = (await chapters(*story(reply("x" * 50_000), checkpoint("e1")))).values()
    text = await reading_back.expanded(chapter, FakeBodies())
    assert len(text) < 2_200
    assert "bytes left out" in text


def test_a_number_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(Rejected, match=r"no checkpoint #9 here. There are: #1, #2"):
        reading_back.one_of(fold(*cuts(2)).checkpoints, 9)
    assert reading_back.listed(()) == reading_back.NONE
