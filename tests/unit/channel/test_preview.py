"""A reply is shown while it is written: what can be read of it so far, and nothing else."""

import asyncio
import json

import msgspec
import pytest
from hypothesis import given, strategies as st

from schemas.base import RunId
from services.channel import preview as module
from services.channel.preview import Preview, readable
from services.runtime.live import TextDelta, deltas
from services.runtime.model import Delta
from tests.support.builders import CONVERSATION
from tests.support.fake_live import FakeLive

TURN = RunId("t1")


@pytest.fixture
def live(monkeypatch):
    monkeypatch.setattr(module, "EVERY_S", 0.0)
    return FakeLive()


async def shown(live, *fed) -> list[TextDelta]:
    """Feed deltas, each when the one before was shown; return what was published."""
    preview = Preview(live, CONVERSATION, TURN)
    for delta in fed:
        preview.feed(delta)
        await asyncio.gather(preview._flushing) if preview._flushing else None
    assert {subject for subject, _ in live.published} <= {deltas(CONVERSATION)}
    return [msgspec.json.decode(body, type=TextDelta) for _, body in live.published]


def text(pieces):
    return "".join(piece.text for piece in pieces)


async def test_plain_text_is_shown_as_it_comes(live):
    pieces = await shown(live, Delta(text="Hel"), Delta(text="lo"))
    assert pieces == [TextDelta(turn=TURN, text="Hel"), TextDelta(turn=TURN, text="lo")]


async def test_the_text_of_a_reply_is_shown_out_of_its_arguments(live):
    raw = json.dumps({"text": 'She said "hé 👍"\n'})
    pieces = await shown(live, *[Delta(text=letter, tool="reply") for letter in raw])
    assert text(pieces) == 'She said "hé 👍"\n'
    assert not any(piece.reset for piece in pieces)


async def test_other_tools_are_not_shown(live):
    assert await shown(live, Delta(text='{"task": "x"}', tool="branch")) == []


async def test_a_new_attempt_begins_anew(live):
    pieces = await shown(live, Delta(text="Hel"), Delta(text="Good", reset=True))
    assert pieces == [
        TextDelta(turn=TURN, text="Hel"),
        TextDelta(turn=TURN, text="Good", reset=True),
    ]


async def test_a_reply_takes_the_place_of_what_was_said_before_it(live):
    pieces = await shown(live, Delta(text="Let me see"), Delta(text='{"text": "Hi"', tool="reply"))
    assert pieces[-1] == TextDelta(turn=TURN, text="Hi", reset=True)


async def test_pieces_that_come_at_once_are_gathered(live):
    preview = Preview(live, CONVERSATION, TURN)
    for letter in "hello":
        preview.feed(Delta(text=letter))
    await preview._flushing
    assert len(live.published) == 1


async def test_nothing_is_published_while_there_is_nothing_to_read(live):
    assert await shown(live, Delta(text='{"te', tool="reply")) == []


@given(st.text(), st.booleans(), st.data())
def test_whatever_is_readable_is_a_beginning_of_the_text(written, ascii_only, data):
    raw = json.dumps({"text": written}, ensure_ascii=ascii_only)
    cut = data.draw(st.integers(0, len(raw)))
    found = readable(raw[:cut])
    clean = written.encode("utf-8", "replace").decode()
    assert clean.startswith(found)
    assert readable(raw) == clean


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ""),
        ('{"text"', ""),
        ('{"text": "a\\', "a"),
        ('{"text": "a\\u00', "a"),
        ('{"text": "a\\ud83d', "a"),
        ('{"text": "a\\ud83d\\ude0', "a"),
        ('{"text": "a\\ud83d\\ude00', "a😀"),
        ('{"text": "a\nb', "a\nb"),
        ('{"text": "bad \\x escape', ""),
        ('{"other": "x", "text" : "y', "y"),
    ],
)
def test_arguments_may_end_anywhere(arguments, expected):
    assert readable(arguments) == expected
