"""Bytes that are damaged stop nobody from reading the rest: what is wrong is said, never raised."""

from services.runtime.recording import record

SUBJECT = "evt.acme.atlas.portal.general.channel._"
DEEP = b"[" * 20_000 + b"]" * 20_000  # fits into an event


def event(data, *, id_=b"e1"):
    return b'{"id":"%b","type":"message_received","v":1,"at":1,"actor":"portal","data":%b}' % (
        id_,
        data,
    )


def test_a_flipped_bit_in_the_envelope_is_damage():
    found = record(7, SUBJECT, event(b"{}", id_=b"\xff1"))
    assert (found.envelope.type, found.event) == ("damaged", None)
    assert found.problem


def test_a_flipped_bit_in_what_was_said_is_damage_and_the_envelope_is_kept():
    said = b'{"message_id":"m1","author":{"id":"portal:ana","name":"Ana"},"text":"hell\xef"}'
    found = record(7, SUBJECT, event(said))
    assert (found.envelope.type, found.event) == ("message_received", None)
    assert found.problem


def test_data_that_is_nested_too_deep_is_damage():
    found = record(7, SUBJECT, event(DEEP))
    assert found.event is None
    assert found.problem
