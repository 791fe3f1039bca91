"""What a scripted model server shall do with a request: answer, dawdle, break off, refuse."""

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag="answer"):
    """A model's answer, and how it dawdles or breaks on its way."""

    text: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    """Name and raw JSON arguments of each call; malformed where a test wants it so."""
    first_after_s: float = 0.0
    """Silence before anything is sent, headers included."""
    between_s: float = 0.0
    """Silence between two pieces of the stream."""
    cut_after: int | None = None
    """Drop the connection after this many pieces."""
    stop_after: int | None = None
    """End the response properly after this many pieces, without what makes the answer whole."""
    hang_after: int | None = None
    """Go silent after this many pieces, keeping the connection."""
    finish: str | None = None
    """Finish reason; None: `tool_calls` when there are any, otherwise `stop`."""
    cached: int = 0
    """Prompt tokens said to be served from the cache."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag="fault"):
    """An error response instead of an answer."""

    status: int
    message: str = "scripted fault"
    code: str | None = None
    retry_after: str | None = None
    """Value of the Retry-After header."""
    first_after_s: float = 0.0


Script: TypeAlias = Answer | Fault
Brain: TypeAlias = Callable[[dict[str, Any]], Script]
"""Answers a request, given its decoded body, when no script is queued."""

SCRIPTS = msgspec.json.Decoder(list[Script])

RATE_LIMITED = Fault(status=429, message="Rate limit reached", code="rate_limit_exceeded")
SERVER_ERROR = Fault(status=500, message="The server had an error")
OVERLOADED = Fault(status=529, message="Overloaded", code="overloaded_error")
OVERFLOW = Fault(
    status=400,
    message="This model's maximum context length is 8192 tokens. However, your messages resulted "
    "in 9001 tokens. Please reduce the length of the messages.",
    code="context_length_exceeded",
)
UNKNOWN_MODEL = Fault(status=404, message="The model does not exist", code="model_not_found")
NO_QUOTA = Fault(status=429, message="You exceeded your current quota.", code="insufficient_quota")
EMPTY = Answer()
