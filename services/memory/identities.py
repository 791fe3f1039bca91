"""Who is who: the fold of a tenant's people, from ids of platforms to persons.

Pure: events in, state out. Links make groups of ids, so that chains and circles of them are nothing
special; the first id of a group stands for the person.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.people import PeopleEvent, PersonLinked, PersonUnlinked


@dataclass(frozen=True, slots=True)
class Identities:
    """Groups of ids that are one person each."""

    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Every id that was linked, to all ids of its person; the one that stands for it first."""

    def all_of(self, person: str) -> tuple[str, ...]:
        """Return all ids of the person who has this one, the canonical one first."""
        return self.groups.get(person, (person,))

    def canonical(self, person: str) -> str:
        """Return the id that stands for the person who has this one."""
        return self.all_of(person)[0]


def evolve(state: Identities, event: PeopleEvent) -> Identities:
    """Fold one event."""
    match event:
        case PersonLinked(person=person, same_as=same_as):
            stays, joins = state.all_of(same_as), state.all_of(person)
            return state if stays == joins else _with(state, (*stays, *joins))
        case PersonUnlinked(person=person):
            rest = tuple(one for one in state.all_of(person) if one != person)
            return _with(_with(state, rest), (person,))


def _with(state: Identities, group: tuple[str, ...]) -> Identities:
    """Return the state in which these ids, and no others, are one person."""
    others = {one: ids for one, ids in state.groups.items() if one not in group}
    return Identities(others if len(group) == 1 else others | dict.fromkeys(group, group))
