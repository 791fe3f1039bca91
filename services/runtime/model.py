"""Port to language models: what a request, an answer and a delta are.

Implementations: `litellm_model` (providers), `offline_model` (rules, no key), and `router`
(retries, fallback chain, cooldown), all behind `Model`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from schemas.base import RunKind
from schemas.run import ToolCall, Usage

Role = Literal["system", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of what a model is shown, in the chat-completions shape."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """Assistant only: the calls it asked for, in order."""
    tool_call_id: str | None = None
    """Tool only: the call that this answers."""


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One tool as the model sees it."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments, an object, with no references."""


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model."""

    model: str
    """`provider/name`, for example `anthropic/claude-sonnet-4-5`; `offline/rules` is built in."""
    messages: tuple[Message, ...]
    """The system prompt first, then oldest to newest."""
    tools: tuple[ToolSpec, ...] = ()
    kind: RunKind = "turn"
    max_output_tokens: int = 8_192


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer while it is being written; lossy, for eyes only."""

    text: str
    tool: str | None = None
    """None for plain text; otherwise the tool whose raw JSON arguments `text` continues."""
    reset: bool = False
    """True when another attempt begins: what was shown of this answer so far is void."""


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model returned, whole."""

    model: str
    """The model that answered; differs from the request's after a fallback."""
    text: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    finish: str
    """`stop`, `tool_calls`, `length` or the provider's own word."""
    latency_ms: int


OnDelta = Callable[[Delta], None]


class Model(Protocol):
    """Something that answers requests."""

    async def complete(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelAnswer:
        """Return the whole answer, passing deltas on as they come.

        Raises:
            ModelUnavailable: overloaded, rate limited, unreachable, timed out or an empty answer.
            ModelRefused: bad key, unknown model, no quota: asking again cannot help.
            ContextOverflow: the request does not fit into the model's window.
        """
        ...
