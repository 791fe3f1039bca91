"""Export: what a filter selects, with the bodies that it refers to, into one file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from schemas.base import BodyRef
from schemas.channel import ConversationForked
from schemas.envelope import UNREADABLE
from schemas.run import ModelCalled
from schemas.subjects import matches, parse
from services.errors import Permanent
from services.projector.source import LogSource
from services.projector.transfer import Manifest, Writer
from services.runtime.bodies import BodyStore, reference
from services.runtime.event_log import EventLog, Recorded
from services.runtime.lineage import parent_of


async def export(event_log: EventLog, bodies: BodyStore, pattern: str, path: Path) -> Manifest:
    """Write the events that `pattern` selects now, and the bodies they refer to.

    Events that cannot be read and bodies that are not in the store are counted, not written. Where
    a fork is selected without the conversation that it shares history with, the manifest says so.

    Args:
        event_log: Where the events are.
        bodies: Where the bodies are.
        pattern: A NATS filter, as `schemas.subjects.matching` makes them.
        path: The file; it is there when it is whole.

    Raises:
        LogUnavailable: the log or the store does not answer; there is no file.
    """
    writer = Writer(path)
    known: set[str] = set()
    try:
        source = LogSource(event_log, pattern)
        async for recorded in source.read(after=0, until=await source.end()):
            if recorded.envelope.type == "damaged":
                writer.damaged += 1
                continue
            for ref in references(recorded):
                if ref.sha256 not in known:
                    known.add(ref.sha256)
                    await _add_body(writer, bodies, ref)
            if isinstance(recorded.event, ConversationForked):
                parent = str(parent_of(parse(recorded.subject), recorded.event))
                if not matches(pattern, parent):
                    writer.shares.add(parent)
            writer.add_event(recorded.seq, recorded.subject, recorded.body)
        return writer.finish(pattern)
    finally:
        writer.abandon()


async def _add_body(writer: Writer, bodies: BodyStore, ref: BodyRef) -> None:
    try:
        content = await bodies.get(ref)
    except Permanent:
        writer.missing += 1
    else:
        writer.add_body(reference(content, ref.media_type), content)


def references(recorded: Recorded) -> Iterator[BodyRef]:
    """Yield the bodies that an event refers to, also one of a type that we do not know.

    What is damaged refers to nothing that could be found.
    """
    if isinstance(recorded.event, ModelCalled):
        for sha256 in (recorded.event.prompt, recorded.event.tools):
            yield BodyRef(sha256=sha256, bytes=0)  # only the hash is in the event
    if b'"sha256"' in recorded.body:
        try:
            data = msgspec.json.decode(recorded.envelope.data)
        except (msgspec.DecodeError, *UNREADABLE):
            return
        yield from _inside(data)


def _inside(value: Any) -> Iterator[BodyRef]:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        for item in value:
            yield from _inside(item)
    elif isinstance(value, dict):
        try:
            yield msgspec.convert(value, BodyRef)
        except msgspec.ValidationError:
            for item in value.values():
                yield from _inside(item)
