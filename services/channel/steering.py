"""Who may steer a job from conversation: whoever may hear what was said where it belongs.

A job belongs to the conversation in which it was asked for and to the one in which its results are
told. So a job of a private conversation is steered by that person alone, one of an open group from
anywhere, as what is remembered of them. An operator, on the command line or over HTTP, may steer
any; what operators define and tell nowhere, everybody may.
"""

from collections.abc import Callable, Iterable

from schemas.schedule import JobDefined, Target
from schemas.subjects import Subject
from services.channel.turn import Turn
from services.errors import Rejected
from services.memory import audience
from services.memory.audience import Audience
from services.memory.people import People
from services.runtime.jobs.desk import ADAPTER, NotNow


class NotFromHere(Rejected):
    """The job belongs to another conversation."""


def places(definition: JobDefined) -> frozenset[Target]:
    """Return the conversations that a job belongs to."""
    return frozenset(filter(None, (definition.made_in, definition.deliver_to)))


def made_in(turn: Turn) -> Target | None:
    """Return the conversation that a job belongs to which is asked for in this turn."""
    here = turn.subject
    if here.adapter != ADAPTER:
        return Target(adapter=here.adapter or "", conversation=here.conversation or "")
    if turn.state.job is None:
        return None
    mine = turn.state.job.definition  # what a run asks for belongs where its own job does
    return mine.made_in or mine.deliver_to


async def steerable(turn: Turn, job: Subject) -> Callable[[JobDefined], None]:
    """Make sure that a job may be steered in this turn.

    Returns:
        A check, for the moment of the change, that it is still the job that was looked at.

    Raises:
        NotFromHere: it may not.
    """
    state = await turn.conversations.newest(job)
    seen = places(state.job.definition) if state.job is not None else frozenset()
    if job != turn.subject and not await may_know(turn, seen):
        raise NotFromHere(
            f"Job {job.conversation!r} belongs to another conversation; it can only be changed "
            "there, or by whoever runs this installation."
        )

    def same(definition: JobDefined) -> None:
        if places(definition) != seen:
            raise NotNow(f"job {job.conversation!r} was changed this very moment; look again")

    return same


async def may_know(turn: Turn, belongs_to: Iterable[Target]) -> bool:
    """Tell whether a job that belongs to these conversations may be known in this turn."""
    here = await _audience(turn)
    for place in belongs_to:
        there = turn.subject._replace(adapter=place.adapter, conversation=place.conversation)
        if there != turn.subject and not here.may_read(await _of(turn, there)):
            return False
    return True


async def _audience(turn: Turn) -> Audience:
    """Return who hears this turn; of a job, whoever its results are told to."""
    if turn.subject.adapter != ADAPTER:
        identities = await People(turn.writer.log).of(turn.subject.tenant)
        return audience.of(turn.state, turn.subject, identities)
    run = turn.state.occurrence(turn.state.focus)
    if run is None or run.deliver_to is None:
        return audience.of_job(None, turn.subject)
    told = run.deliver_to
    there = turn.subject._replace(adapter=told.adapter, conversation=told.conversation)
    return audience.of_job(await turn.conversations.newest(there), there)


async def _of(turn: Turn, there: Subject) -> Audience:
    identities = await People(turn.writer.log).of(there.tenant)
    return audience.of(await turn.conversations.newest(there), there, identities)
