"""What holds in a fork: another model, another prompt, and no effect on what others share."""

from dataclasses import replace
from typing import Final

from msgspec import Struct

from schemas.base import Content
from schemas.channel import ConversationForked
from schemas.subjects import Subject
from services.errors import Rejected
from services.runtime.agents import Agent
from services.runtime.bodies import BodyStore, text_of

REFUSED: Final = (
    "This conversation is a fork: memories, tasks and jobs can be read in it, not changed."
)


class InAFork(Rejected):
    """Something was to be changed that other conversations share."""


class Fork(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That a conversation is a fork, as its fold knows it."""

    adapter: str
    """Of the conversation in which its history begins: forks of forks have the same one."""
    conversation: str
    model: str | None = None
    prompt: Content | None = None


def begun(parent: Fork | None, event: ConversationForked) -> Fork:
    """Return the fork that an event begins, on a conversation that may be one itself."""
    if parent is None:
        return Fork(
            adapter=event.adapter,
            conversation=event.conversation,
            model=event.model,
            prompt=event.prompt,
        )
    return Fork(
        adapter=parent.adapter,
        conversation=parent.conversation,
        model=event.model or parent.model,
        prompt=parent.prompt if event.prompt is None else event.prompt,
    )


def home(here: Subject, fork: Fork | None) -> Subject:
    """Return the conversation as which `here` is shown things and hears them: where it began."""
    return (
        here
        if fork is None
        else here._replace(adapter=fork.adapter, conversation=fork.conversation)
    )


async def as_there(agent: Agent, fork: Fork | None, bodies: BodyStore) -> Agent:
    """Return the agent as it is in a conversation.

    Raises:
        LogUnavailable: its prompt could not be read now.
        Permanent: its prompt is lost.
    """
    if fork is None:
        return agent
    told = agent.instructions if fork.prompt is None else await text_of(bodies, fork.prompt)
    return replace(agent, instructions=told, model=fork.model or agent.model)


def check(fork: Fork | None) -> None:
    """Make sure that what other conversations share may be changed.

    Raises:
        InAFork: it may not.
    """
    if fork is not None:
        raise InAFork(REFUSED)
