"""Facts about who is who: the same person on several platforms.

Subject:  evt.{tenant}._._._.people._
Order:    any; what was linked last counts
Writer:   administrators, over HTTP and at the command line
"""

from typing import TypeAlias

from msgspec.json import Decoder

from schemas.base import Event


class PersonLinked(Event, tag="person_linked"):
    """Two ids are one person, and so are all that were linked to either of them."""

    person: str
    """As on its platform: `slack:U123`."""
    same_as: str
    """The id that stands for the person from now on, unless that one stands for another."""


class PersonUnlinked(Event, tag="person_unlinked"):
    """An id is a person of its own again; the others that it was linked with stay together."""

    person: str


PeopleEvent: TypeAlias = PersonLinked | PersonUnlinked
PEOPLE_EVENTS: Decoder[PeopleEvent] = Decoder(PeopleEvent)
