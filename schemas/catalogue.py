"""Every event there is, by entity and by tag, and how to decode one from its envelope."""

from types import ModuleType
from typing import Any, Final, TypeAlias, get_args

import msgspec

from schemas import (
    channel,
    config,
    cortex,
    dead,
    goals,
    ingest,
    memory,
    people,
    run,
    schedule,
    spend,
    tasks,
)
from schemas.base import Event
from schemas.channel import ChannelEvent
from schemas.config import ConfigEvent
from schemas.cortex import CortexEvent
from schemas.dead import DeadEvent
from schemas.envelope import UNREADABLE, Envelope
from schemas.goals import GoalsEvent
from schemas.ingest import IngestEvent
from schemas.memory import MemoryEvent
from schemas.people import PeopleEvent
from schemas.run import RunEvent
from schemas.schedule import ScheduleEvent
from schemas.spend import SpendEvent
from schemas.tasks import TasksEvent
from schemas.upcast import UPCASTERS, Upcasters, current_version, upcast

AnyEvent: TypeAlias = (
    ChannelEvent
    | RunEvent
    | MemoryEvent
    | CortexEvent
    | IngestEvent
    | TasksEvent
    | GoalsEvent
    | ConfigEvent
    | DeadEvent
    | PeopleEvent
    | ScheduleEvent
    | SpendEvent
)

MODULES: Final[dict[ModuleType, Any]] = {
    channel: ChannelEvent,
    run: RunEvent,
    memory: MemoryEvent,
    cortex: CortexEvent,
    ingest: IngestEvent,
    tasks: TasksEvent,
    goals: GoalsEvent,
    config: ConfigEvent,
    dead: DeadEvent,
    people: PeopleEvent,
    schedule: ScheduleEvent,
    spend: SpendEvent,
}
"""Each module of events to its union, in the order of the catalogue."""

EVENTS: Final[dict[str, type[Event]]] = {
    str(event.__struct_config__.tag): event
    for union in MODULES.values()
    for event in get_args(union)
}
"""Every tag that was ever written to its class."""

_VERSIONS: Final = {tag: current_version(tag) for tag in EVENTS}
_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    tag: msgspec.json.Decoder(event) for tag, event in EVENTS.items()
}


def open_envelope(envelope: Envelope, upcasters: Upcasters = UPCASTERS) -> AnyEvent | None:
    """Return the event in its today's shape, or None when its type is not known to this version.

    Raises:
        msgspec.DecodeError: the data does not have the shape of its type.
    """
    decoder = _DECODERS.get(envelope.type)
    if decoder is None:
        return None
    try:
        return _opened(envelope, decoder, upcasters)
    except UNREADABLE as error:
        raise msgspec.DecodeError(str(error)) from error


def _opened(
    envelope: Envelope, decoder: msgspec.json.Decoder[Any], upcasters: Upcasters
) -> AnyEvent:
    if (envelope.type, envelope.v) in upcasters:
        old = msgspec.json.decode(envelope.data)
        event = upcast(envelope.type, envelope.v, old, upcasters)
        return msgspec.convert(event, EVENTS[envelope.type])  # type: ignore[return-value]  # a member of the union
    return decoder.decode(envelope.data)  # type: ignore[no-any-return]  # one decoder a tag


def version_of(tag: str) -> int:
    """Return the version in which events of `tag` are written today."""
    return _VERSIONS[tag]


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of the envelope and of the data of every event."""
    roots = [Envelope, *EVENTS.values()]
    _, definitions = msgspec.json.schema_components(roots, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Penstock events",
        "oneOf": [{"$ref": f"#/$defs/{event.__name__}"} for event in EVENTS.values()],
        "$defs": definitions,
    }
