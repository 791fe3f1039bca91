"""Who hears what is said in a conversation, and so whose memories belong there.

Decided from what the platform says of the conversation and who has spoken in it, never from what a
model asks for. A conversation is a person's own as long as nobody else has ever spoken in it. A run
of a job is heard where its result is told. A fork is heard as the conversation that it began in.
"""

from dataclasses import dataclass
from typing import Protocol

from schemas.memory import Scope
from schemas.subjects import Subject
from services.memory.identities import Identities
from services.runtime import forks
from services.runtime.conversation import Conversation


class Remembered(Protocol):
    """A memory, as far as it matters who may see it."""

    @property
    def scope(self) -> Scope:
        """Who may see it."""
        ...

    @property
    def person(self) -> str | None:
        """Whom it came from."""
        ...

    @property
    def conversation(self) -> str | None:
        """Where it came up, `adapter/conversation`."""
        ...


@dataclass(frozen=True, slots=True)
class Audience:
    """Who hears an answer."""

    scope: Scope
    """Of what is remembered here."""
    conversation: str
    """`adapter/conversation`."""
    person: str | None = None
    """Who spoke last: whom a memory comes from."""
    ids: tuple[str, ...] = ()
    """All ids of that person, the canonical one first."""

    @property
    def own(self) -> tuple[str, ...]:
        """Return the ids of the person whose own conversation it is; none where several hear."""
        return self.ids if self.scope == "person" else ()

    def may_see(self, memory: Remembered) -> bool:
        """Tell whether a memory may be shown here."""
        match memory.scope:
            case "person":
                return memory.person in self.own
            case "channel":
                return memory.conversation == self.conversation
            case "agent" | "tenant":
                return True

    def may_read(self, other: "Audience") -> bool:
        """Tell whether what was said in another conversation may be told here."""
        if other.scope == "person":
            return bool(set(other.ids) & set(self.own))
        return other.scope == "agent" or other.conversation == self.conversation


def of(state: Conversation, where: Subject, identities: Identities) -> Audience:
    """Return who hears what is said in a conversation, as it is now or at a fork.

    Args:
        state: The fold of its channel stream.
        where: The conversation.
        identities: Who is who.
    """
    where = forks.home(where, state.fork)
    speaker = state.speaker.id if state.speaker else None
    return Audience(
        scope=_scope(state),
        conversation=f"{where.adapter}/{where.conversation}",
        person=speaker,
        ids=identities.all_of(speaker) if speaker else (),
    )


def of_job(told: Conversation | None, where: Subject) -> Audience:
    """Return who hears what a run of a job says: whoever hears what is said where it is told.

    Nobody speaks in it, so nothing that is a person's own belongs there, even where that person
    alone is told.

    Args:
        told: The fold of the conversation where it is told; None where it is told nowhere.
        where: That conversation; the job's own where there is none.
    """
    everyone = told is not None and _scope(told) == "agent"
    return Audience(
        scope="agent" if everyone else "channel",
        conversation=f"{where.adapter}/{where.conversation}",
    )


def _scope(state: Conversation) -> Scope:
    if not state.shared and state.speaker is not None:
        return "person"
    return "agent" if state.group and not state.private else "channel"
