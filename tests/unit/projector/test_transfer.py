"""The file of an export is whole or not there, and of a hostile one nothing is taken in."""

from hashlib import sha256

import msgspec
import pytest
import zstandard

from schemas.envelope import MAX_EVENT_BYTES
from services.projector.exporting import references
from services.projector.transfer import InvalidFile, Manifest, Writer, checked, parse_line
from services.runtime.recording import record

SUBJECT = "evt.acme.atlas.portal.general.channel._"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.ndjson.zst"


def body(text="hello"):
    author = {"id": "portal:ana", "name": "Ana"}
    data = {"message_id": "m1", "author": author, "text": text}
    event = {"id": "e1", "type": "message_received", "at": 1, "actor": "portal", "data": data}
    return msgspec.json.encode(event)


def line(event):
    return b'{"seq":1,"subject":"%b","event":%b}\n' % (SUBJECT.encode(), event)


def write(path, *lines):
    whole = b"".join(lines)
    manifest = Manifest(
        penstock=1,
        filter="evt.>",
        events=len(lines),
        bodies=0,
        missing=0,
        damaged=0,
        sha256=sha256(whole).hexdigest(),
    )
    path.write_bytes(zstandard.compress(msgspec.json.encode(manifest) + b"\n" + whole))


def test_two_exports_to_one_place_at_once_leave_a_whole_file(path):
    one, other = Writer(path), Writer(path)
    one.add_event(1, SUBJECT, body())
    other.add_event(1, SUBJECT, body())
    other.add_event(2, SUBJECT, body())
    one.finish("evt.>")
    assert checked(path).events == 1
    other.finish("evt.>")
    assert checked(path).events == 2


def test_an_export_touches_no_other_file_and_leaves_none(path):
    for suffix in (".lines", ".partial"):
        path.with_name(path.name + suffix).write_text("mine")
    before = set(path.parent.iterdir())
    Writer(path).abandon()
    assert set(path.parent.iterdir()) == before
    writer = Writer(path)
    writer.add_event(1, SUBJECT, body())
    writer.finish("evt.>")
    writer.abandon()
    assert set(path.parent.iterdir()) == {*before, path}
    assert {file.read_text() for file in before} == {"mine"}


def test_an_export_that_cannot_be_put_in_its_place_leaves_nothing(path):
    path.mkdir()
    writer = Writer(path)
    with pytest.raises(OSError, match="directory"):
        writer.finish("evt.>")
    writer.abandon()
    assert list(path.parent.iterdir()) == [path]


def test_only_its_owner_can_read_an_export(path):
    writer = Writer(path)
    writer.finish("evt.>")
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("type_", [b"message_received", b"not_known_yet"])
def test_an_export_goes_on_behind_an_event_whose_text_is_damaged(type_):
    damaged = body("cut").replace(b'cut"', b'\xff","sha256":"x"')
    found = record(1, SUBJECT, damaged.replace(b"message_received", type_))
    assert found.event is None
    assert list(references(found)) == []


@pytest.mark.parametrize(
    "event",
    [
        body().replace(b'"e1"', b'"\xff"'),
        b'{"id":"e1","type":"t","at":1,"actor":"a","data":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
    ids=["no_text", "endless_nesting"],
)
def test_a_line_that_cannot_be_decoded_is_said_to_be(event):
    with pytest.raises(InvalidFile, match="cannot be read"):
        parse_line(line(event))


def test_a_file_with_an_event_that_no_log_takes_is_refused_as_a_whole(path):
    write(path, line(body()))
    assert checked(path).events == 1
    write(path, line(body()), line(body("x" * MAX_EVENT_BYTES)))
    with pytest.raises(InvalidFile, match="65,536"):
        checked(path)


def test_a_manifest_that_is_no_text_is_said_to_be_none(path):
    path.write_bytes(zstandard.compress(b'{"penstock":1,"filter":"\xff"}\n'))
    with pytest.raises(InvalidFile, match="manifest"):
        checked(path)
