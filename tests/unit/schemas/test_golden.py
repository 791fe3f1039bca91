"""Every event that was ever written can be read for ever. Golden files are added, never edited."""

import json
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from schemas.base import Event
from schemas.catalogue import EVENTS, open_envelope
from schemas.envelope import decode, encode, seal

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(path for path in GOLDEN.glob("*.v*.json"))


def read(path):
    return decode(path.read_bytes())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_still_decodes_and_encodes_to_the_same(path):
    envelope = read(path)
    event = open_envelope(envelope)
    assert isinstance(event, Event)
    again = seal(
        event,
        id=envelope.id,
        at=envelope.at,
        actor=envelope.actor,
        cause=envelope.cause,
        turn=envelope.turn,
        traceparent=envelope.traceparent,
        version=envelope.v,
    )
    assert json.loads(encode(again)) == json.loads(path.read_bytes())
    assert open_envelope(decode(encode(again))) == event


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_is_named_for_its_tag_and_version(path):
    envelope = read(path)
    assert path.name.startswith(f"{envelope.type}.v{envelope.v}.")


def test_every_tag_has_a_golden_file():
    assert {read(path).type for path in FILES} == {*EVENTS}


@pytest.mark.parametrize("tag", EVENTS)
def test_every_field_is_exercised_by_a_golden_file_of_its_tag(tag):
    told = [open_envelope(read(path)) for path in FILES if read(path).type == tag]
    for field in msgspec.structs.fields(EVENTS[tag]):
        values = [getattr(event, field.name) for event in told]
        assert any(_is_full(value, field.default) for value in values), (
            f"{tag}.{field.name} is only ever its default: add a file {tag}.v1.N.json"
        )


def _is_full(value, default):
    """Tell whether a value, and everything in it, differs from its default."""
    if isinstance(value, msgspec.Struct):
        inner = ((getattr(value, f.name), f.default) for f in msgspec.structs.fields(value))
        return all(_is_full(one, usual) for one, usual in inner)
    if isinstance(value, tuple):
        return bool(value) and all(_is_full(one, msgspec.NODEFAULT) for one in value)
    return value != default


def test_the_envelope_of_every_golden_file_is_complete():
    for path in FILES:
        fields = {*json.loads(path.read_bytes())} | {"v"}
        assert fields == {"id", "type", "v", "at", "actor", "cause", "turn", "traceparent", "data"}


def test_golden_files_were_never_changed():
    listed = {}
    for line in (GOLDEN / "MANIFEST").read_text().splitlines():
        digest, name = line.split("  ")
        listed[name] = digest
    found = {path.name: sha256(path.read_bytes()).hexdigest() for path in FILES}
    assert found == listed
