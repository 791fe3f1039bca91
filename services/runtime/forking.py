"""Begin forks of conversations: one for each name, however often it is asked for."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas.base import Content, EventId
from schemas.channel import ConversationForked, MessageReceived, Person
from schemas.subjects import FORK, InvalidToken, Subject, matching, parse
from services.errors import Conflict, Rejected
from services.runtime import ids, lineage, parting
from services.runtime.agents import Agents
from services.runtime.bodies import BodyStore, content
from services.runtime.event_log import Append, Recorded
from services.runtime.intake import LONGEST_BYTES
from services.runtime.parting import InvalidFork, Point
from services.runtime.text import clean
from services.runtime.writer import Writer

LONGEST_MODEL: Final = 200  # characters of its name
DIGITS: Final = 8  # of a new id in a name: those that differ most


class UnknownConversation(Rejected):
    """Nothing was ever said there."""


class Fork(Struct, frozen=True, kw_only=True):
    """What is wanted of a fork."""

    at: str | None = None
    """The last event that is shared: a sequence, an id, `message 3`, `before message 3`; None
    for the newest."""
    name: str | None = None
    """The same name again is the same fork; None for a new one."""
    model: str | None = None
    prompt: str | None = None
    """Stands for the agent's instructions."""
    message: str | None = None
    """Is said in the fork; None for what is unanswered at that point, or what was said next."""
    author: Person | None = None
    """Who says it; None for whoever spoke last."""


class Forked(Struct, frozen=True, kw_only=True):
    """A fork that has begun."""

    conversation: str
    """Its name; its adapter is `fork`."""
    event_id: str
    seq: int
    """Of its first event."""
    of: str
    """The conversation that it shares history with, `adapter/conversation`."""
    at: str
    """Id of the last event that is shared."""
    at_seq: int
    answers: Literal["unanswered", "next", "message"]
    """Unanswered: what had not been answered at that point. Next: what was said next there, once
    more. Message: what was given."""


def new_name(conversation: str) -> str:
    """Return a name that no other fork has."""
    digits = ids.new()[-DIGITS:]
    name = f"{conversation}-{digits}"
    try:
        str(Subject("t", adapter=FORK, conversation=name))
    except InvalidToken:
        return digits
    return name


@dataclass(frozen=True, slots=True)
class Forking:
    """Begins forks."""

    writer: Writer
    bodies: BodyStore
    agents: Agents

    async def begin(self, of: Subject, wanted: Fork) -> Forked:
        """Begin a fork, or find the one that was begun under this name; the channel answers in it.

        Args:
            of: The conversation.
            wanted: Where it parts and what is different in it.

        Raises:
            UnknownAgent, UnknownConversation: there is none.
            InvalidFork: it cannot be like this; says why.
            Rejected: another fork has the name.
            LogUnavailable, LogFull: ask again, under the same name.
        """
        await self.agents.get(of.tenant, of.agent or "")
        here = _named(of, wanted.name or new_name(of.conversation or ""))
        at = wanted.at if wanted.at is not None else await self._begun_at(here)
        point = await self._point(of, at)
        parent = parse(point.event.subject)
        event = ConversationForked(
            adapter=parent.adapter or "",
            conversation=parent.conversation or "",
            at=point.event.envelope.id,
            handled=point.handled,
            model=_model(wanted.model),
            prompt=None if wanted.prompt is None else await self._content(wanted.prompt, "prompt"),
        )
        said, answers = await self._said(here, point, wanted)
        return Forked(
            conversation=here.conversation or "",
            event_id=ids.derived("forked", str(here)),
            seq=await self._store(here, event, said),
            of=f"{event.adapter}/{event.conversation}",
            at=event.at,
            at_seq=point.event.seq,
            answers=answers,
        )

    async def _begun_at(self, here: Subject) -> EventId | None:
        """Return where a fork of this name parts, if there is one: the newest was another then."""
        async for recorded in self.writer.log.read(str(here), fresh=True):
            return recorded.event.at if isinstance(recorded.event, ConversationForked) else None
        return None

    async def _point(self, of: Subject, at: str | None) -> Point:
        log = self.writer.log
        try:
            everything = matching(*of[:4])
        except InvalidToken as error:
            raise UnknownConversation(str(error)) from error
        events = [recorded async for recorded in lineage.told(log, of, fresh=True)]
        newest = await log.last(everything, fresh=True)
        if not events or newest is None:
            raise UnknownConversation(
                f"agent {of.agent!r} has no conversation {of.adapter}/{of.conversation}"
            )
        return parting.decide(events, at, end=newest.seq)

    async def _said(
        self, here: Subject, point: Point, wanted: Fork
    ) -> tuple[MessageReceived | None, Literal["unanswered", "next", "message"]]:
        """Return what is said in the fork itself, None where what is shared calls for a turn."""
        state, id_ = point.state, ids.derived("said", str(here))
        if wanted.message is not None:
            author = wanted.author or state.speaker
            if author is None:
                raise InvalidFork("nobody has spoken there yet: say who does")
            said = MessageReceived(
                message_id=id_,
                author=author,
                text=await self._content(wanted.message, "message"),
                group=state.group,
                private=state.private,
            )
            return said, "message"
        if point.asks:
            return None, "unanswered"
        if point.next is None:
            raise InvalidFork(
                "everything was answered there, and nobody said anything after it: say what "
                "shall be said in the fork"
            )
        return replace(point.next, message_id=id_, reply_to=None), "next"

    async def _content(self, text: str, what: str) -> Content:
        body = clean(text).strip()
        if not body:
            raise InvalidFork(f"the {what} is empty")
        if len(body.encode()) > LONGEST_BYTES:
            raise InvalidFork(f"the {what} has more than {LONGEST_BYTES:,} bytes")
        return await content(self.bodies, body)

    async def _store(
        self, here: Subject, event: ConversationForked, said: MessageReceived | None
    ) -> int:
        """Append what the fork begins with, at once; return the sequence of its first event."""
        subject = str(here)
        appends = [
            Append(subject, self.writer.seal(event, id=ids.derived("forked", subject)), expected=0)
        ]
        if said is not None:
            id_ = ids.derived("message", subject, said.message_id)
            appends.append(Append(subject, self.writer.seal(said, id=id_)))
        with suppress(Conflict):
            await self.writer.log.append_batch(appends)
        # Read back in any case: the ids are the same for everybody who asks under this name.
        there: list[Recorded] = []
        async for recorded in self.writer.log.read(subject, fresh=True):
            there.append(recorded)
            if len(there) == 2:  # what it begins with has no more
                break
        return _same(there, event, said, here)


def _same(
    there: Sequence[Recorded],
    event: ConversationForked,
    said: MessageReceived | None,
    here: Subject,
) -> int:
    """Return the first sequence of a fork that is there already.

    Raises:
        Rejected: it is another one.
    """
    first = there[0].event if there else None
    # what an open turn had answered may be known better by now; the fork is the same
    same = isinstance(first, ConversationForked) and replace(first, handled=event.handled) == event
    mine = ids.derived("said", str(here))
    words = [
        it.event
        for it in there[1:]
        if isinstance(it.event, MessageReceived) and it.event.message_id == mine
    ]
    if same and words == ([] if said is None else [said]):
        return there[0].seq
    raise Rejected(f"there is another fork called {here.conversation!r}: choose another name")


def _named(of: Subject, name: str) -> Subject:
    if not name.isprintable():
        raise InvalidFork("the name of a fork has only visible characters")
    here = Subject(of.tenant, of.agent, FORK, name)
    try:
        str(here)
    except InvalidToken as error:
        raise InvalidFork(f"a fork cannot be named like this: {error}") from error
    return here


def _model(name: str | None) -> str | None:
    if name is None:
        return None
    model = name.strip()
    if not model:
        raise InvalidFork("the model is empty")
    if len(model) > LONGEST_MODEL:
        raise InvalidFork(f"the model has more than {LONGEST_MODEL} characters")
    if not model.isprintable():
        raise InvalidFork("the name of a model has only visible characters")
    return model
