"""Which part of the log a command is about."""

from schemas.subjects import InvalidToken, Subject, matching
from services.errors import Rejected


def pattern(tenant: str, *, agent: str | None = None, conversation: str | None = None) -> str:
    """Return the filter of an agent's or a conversation's events, branches and workers included.

    Args:
        tenant: Whose.
        agent: None for any.
        conversation: `C` on any platform, `ADAPTER/C` on one, None for any.

    Raises:
        Rejected: no conversation can be called like this.
    """
    adapter, name = _split(conversation)
    try:
        return matching(tenant, agent, adapter, name)
    except InvalidToken as error:
        raise Rejected(str(error)) from error


def _split(conversation: str | None) -> tuple[str | None, str | None]:
    if conversation is None or "/" not in conversation:
        return None, conversation
    adapter, _, name = conversation.partition("/")
    return adapter, name


def label(subject: Subject) -> str:
    """Return a short name of a stream: `main portal/terminal worker a1e5923c`."""
    where = f"{subject.adapter}/{subject.conversation}" if subject.conversation else None
    entity = subject.entity if subject.entity != "channel" else None
    parts = (subject.agent, where, entity, subject.id and subject.id[:8])
    return " ".join(part for part in parts if part)
