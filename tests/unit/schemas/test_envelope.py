"""Envelopes: what is sealed comes back; what cannot be read is skipped or named, never guessed."""

import msgspec
import pytest
from hypothesis import given, strategies as st

from schemas.base import EventId, RunId
from schemas.catalogue import EVENTS, json_schema, open_envelope, version_of
from schemas.channel import MessageReceived, Person, ReplySent
from schemas.envelope import Envelope, decode, encode, seal, tag_of
from schemas.upcast import current_version, upcast
from services.runtime.recording import record
from tests.support.builders import ANA, message, reply

WIRE = {"id": "e1", "type": "reply_sent", "at": 1, "actor": "channel"}
DATA = {"type": "reply_sent", "turn_id": "t1", "text": "hi"}


def body(**fields):
    return msgspec.json.encode({**WIRE, "data": DATA, **fields})


@given(
    text=st.text(),
    author=st.builds(Person, id=st.text(), name=st.text()),
    cause=st.none() | st.text().map(EventId),
    turn=st.none() | st.text().map(RunId),
    at=st.integers(0, 2**53),
)
def test_what_is_sealed_is_opened_unchanged(text, author, cause, turn, at):
    event = MessageReceived(message_id="m", author=author, text=text)
    sealed = seal(event, id=EventId("e"), at=at, actor="a", cause=cause, turn=turn)
    stored = decode(encode(sealed))
    assert stored == sealed
    assert open_envelope(stored) == event
    assert encode(stored) == encode(sealed)


def test_the_type_is_the_tag_of_the_data():
    envelope = seal(reply(), id=EventId("e"), at=1, actor="channel")
    assert envelope.type == tag_of(reply()) == "reply_sent"
    assert msgspec.json.decode(envelope.data)["type"] == "reply_sent"


def test_fields_at_their_default_are_left_out():
    envelope = seal(message(), id=EventId("e"), at=1, actor="a")
    assert msgspec.json.decode(encode(envelope)) == {
        "id": "e",
        "type": "message_received",
        "at": 1,
        "actor": "a",
        "data": {
            "type": "message_received",
            "message_id": "m1",
            "author": {"id": ANA.id, "name": ANA.name},
            "text": "hello",
        },
    }


def test_unknown_fields_are_skipped():
    recorded = record(7, "s", body(colour="red", data={**DATA, "mood": "good"}))
    assert recorded.event == ReplySent(turn_id=RunId("t1"), text="hi")
    assert recorded.problem is None


def test_an_unknown_type_has_no_event_and_is_no_problem():
    recorded = record(7, "s", body(type="seen_tomorrow", data={"type": "seen_tomorrow", "x": 1}))
    assert (recorded.event, recorded.problem) == (None, None)
    assert (recorded.seq, recorded.envelope.id) == (7, "e1")


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"id": "cut', id="cut off"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[]", id="no object"),
        pytest.param(msgspec.json.encode(WIRE), id="no data"),
        pytest.param(body(at="yesterday"), id="a time that is none"),
        pytest.param(body(at=-1), id="a time before time"),
    ],
)
def test_what_is_no_envelope_is_recorded_as_damaged(stored):
    recorded = record(7, "s", stored)
    assert recorded.event is None
    assert recorded.problem
    assert recorded.envelope.id == "damaged-7"
    assert recorded.body == stored


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="no tag"),
        pytest.param({**DATA, "type": "message_received"}, id="the tag of another event"),
        pytest.param({"type": "reply_sent", "text": "hi"}, id="a field is missing"),
        pytest.param({**DATA, "text": 7}, id="a field of another type"),
        pytest.param({**DATA, "text": {"sha256": "nonsense", "bytes": 1}}, id="no hash"),
        pytest.param(None, id="null"),
    ],
)
def test_an_event_without_the_shape_of_its_type_is_recorded_as_damaged(data):
    recorded = record(7, "s", body(data=data))
    assert recorded.event is None
    assert recorded.problem
    assert recorded.envelope.id == "e1"


def test_limits_of_numbers_are_checked_when_an_event_is_read():
    resumed = {"type": "turn_resumed", "turn_id": "t1", "owner": "two", "attempt": 0}
    assert record(1, "s", body(type="turn_resumed", data=resumed)).problem


# -- old shapes -------------------------------------------------------------------------------


def first_to_second(data):
    """Version 1 called the text `words`."""
    words = data.pop("words")
    return {**data, "text": words}


def second_to_third(data):
    """Version 2 had no brackets."""
    return {**data, "text": f"[{data['text']}]"}


UPCASTERS = {("reply_sent", 1): first_to_second, ("reply_sent", 2): second_to_third}


def old(version, **data):
    raw = msgspec.Raw(msgspec.json.encode({"type": "reply_sent", "turn_id": "t1", **data}))
    return Envelope(id=EventId("e"), type="reply_sent", v=version, at=1, actor="a", data=raw)


@pytest.mark.parametrize(
    "envelope",
    [
        pytest.param(old(1, words="hi"), id="two versions old"),
        pytest.param(old(2, text="hi"), id="one version old"),
        pytest.param(old(3, text="[hi]"), id="of today"),
    ],
)
def test_an_old_shape_is_lifted_to_todays(envelope):
    event = open_envelope(envelope, UPCASTERS)
    assert event == ReplySent(turn_id=RunId("t1"), text="[hi]")


def test_a_lifted_event_still_has_to_have_todays_shape():
    with pytest.raises(msgspec.ValidationError):
        open_envelope(old(2, text="hi"), {("reply_sent", 2): lambda data: {**data, "text": 7}})


def test_the_version_written_today_is_behind_the_last_retired_one():
    assert current_version("reply_sent", UPCASTERS) == 3
    assert current_version("message_received", UPCASTERS) == 1


def test_upcasting_leaves_other_events_alone():
    assert upcast("skipped", 1, {"a": 1}, UPCASTERS) == {"a": 1}


def test_every_tag_has_a_version_of_today():
    assert {version_of(tag) for tag in EVENTS} == {1}


# -- the schema -------------------------------------------------------------------------------


def test_the_json_schema_describes_every_event():
    schema = json_schema()
    named = [reference["$ref"].removeprefix("#/$defs/") for reference in schema["oneOf"]]
    assert named == [event.__name__ for event in EVENTS.values()]
    assert {"Envelope", *named} <= {*schema["$defs"]}
    tags = [schema["$defs"][name]["properties"]["type"]["enum"] for name in named]
    assert tags == [[tag] for tag in EVENTS]
