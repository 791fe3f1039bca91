"""What may change about an event that was ever written, and what may not."""

import json
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from schemas.base import Event
from schemas.catalogue import json_schema
from schemas.envelope import Envelope
from tests.support.schema_changes import breaking

SNAPSHOT = Path(__file__).parent / "golden" / "schema.json"


class Place(Struct, frozen=True):
    city: str
    title: str = ""


class Told(Event, tag="told"):
    """Someone said something."""

    text: str
    mood: Literal["good", "bad"] = "good"
    count: Annotated[int, Meta(ge=0)] = 0
    places: tuple[Place, ...] = ()
    home: Place | None = None


def schema(*events):
    _, definitions = msgspec.json.schema_components(
        [Envelope, *events], ref_template="#/$defs/{name}"
    )
    references = [{"$ref": f"#/$defs/{event.__name__}"} for event in events]
    return {"oneOf": references, "$defs": definitions}


def told(*fields, tag="told", **changes):
    """Return the event's struct anew, with fields added at the end, changed, or (None) left out."""
    kept = [
        changes.get(name, (name, kind, default))
        for name, kind, default in (
            ("text", str, msgspec.NODEFAULT),
            ("mood", Literal["good", "bad"], "good"),
            ("count", Annotated[int, Meta(ge=0)], 0),
            ("places", tuple[Place, ...], ()),
            ("home", Place | None, None),
        )
    ]
    named = [field for field in kept if field is not None]
    return msgspec.defstruct("Renamed", [*named, *fields], bases=(Event,), tag=tag, kw_only=True)


class BiggerPlace(Struct, frozen=True):
    city: str
    title: str = ""
    country: str = ""


class OtherPlace(Struct, frozen=True):
    city: str


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(told(), id="another class name and docstring"),
        pytest.param(told(("volume", int, 3)), id="a new last field with a default"),
        pytest.param(
            told(places=("places", tuple[BiggerPlace, ...], ())),
            id="a new last field of a part",
        ),
    ],
)
def test_what_is_compatible_passes(new):
    assert breaking(schema(Told), schema(new)) == []


def test_a_new_event_is_compatible():
    assert breaking(schema(Told), schema(Told, told(tag="asked"))) == []


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        pytest.param(told(tag="said"), "told: removed", id="the tag is renamed"),
        pytest.param(told(text=None), "told.text: removed", id="a field is removed"),
        pytest.param(
            told(text=("words", str, msgspec.NODEFAULT)),
            "told.text: removed",
            id="a field is renamed",
        ),
        pytest.param(
            told(text=("text", bytes, msgspec.NODEFAULT)),
            'told.text: {"type": "string"} became',
            id="a field has another type",
        ),
        pytest.param(
            told(text=("text", str | None, msgspec.NODEFAULT)),
            "told.text",
            id="a field may be null",
        ),
        pytest.param(
            told(mood=("mood", Literal["good", "bad", "ugly"], "good")),
            "told.mood",
            id="a closed set grows, which old readers cannot read",
        ),
        pytest.param(
            told(count=("count", Annotated[int, Meta(ge=1)], 0)),
            "told.count",
            id="a limit is narrowed",
        ),
        pytest.param(
            told(count=("count", Annotated[int, Meta(ge=0)], 1)),
            "told.count",
            id="a default changes, and with it what its absence means",
        ),
        pytest.param(
            told(mood=("mood", Literal["good", "bad"], msgspec.NODEFAULT)),
            "told.mood: now required",
            id="a field becomes required",
        ),
        pytest.param(
            told(text=("text", str, "")), "told.text: no longer required", id="a field may be left"
        ),
        pytest.param(
            told(("volume", int, msgspec.NODEFAULT)),
            "told.volume: new, and required",
            id="a new field is required",
        ),
        pytest.param(
            told(places=("places", tuple[OtherPlace, ...], ())),
            "told.places.title: removed",
            id="a field of a part is removed",
        ),
        pytest.param(
            told(home=("home", OtherPlace | None, None)),
            "told.home.title: removed",
            id="a field of an optional part is removed",
        ),
        pytest.param(
            told(places=("places", tuple[str, ...], ())), "told.places", id="a list of other things"
        ),
    ],
)
def test_what_is_incompatible_is_named(new, complaint):
    found = breaking(schema(Told), schema(new))
    assert found
    assert found[0].startswith(complaint)


def test_a_new_field_in_the_middle_is_named():
    new = msgspec.defstruct(
        "Told",
        [("text", str), ("volume", int, 0), ("mood", Literal["good", "bad"], "good")],
        bases=(Event,),
        tag="told",
    )
    old = msgspec.defstruct(
        "Told",
        [("text", str), ("mood", Literal["good", "bad"], "good")],
        bases=(Event,),
        tag="told",
    )
    assert breaking(schema(old), schema(new)) == ["told: new fields must come last"]


def today():
    return json.loads(json.dumps(json_schema()))


def test_no_event_has_changed_incompatibly():
    assert breaking(json.loads(SNAPSHOT.read_text()), today()) == []


def test_the_snapshot_knows_every_event_of_today():
    renew = "python -m tests.support.schema_changes > tests/unit/schemas/golden/schema.json"
    assert json.loads(SNAPSHOT.read_text()) == today(), f"renew it: {renew}"
